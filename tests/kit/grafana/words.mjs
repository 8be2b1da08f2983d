// node words.mjs LIBRARIES BOARD...: every unit, reducer, colour, matcher and transformation of the boards that a Grafana
// does not know, a line each; nothing when it knows them all.
import { readFileSync } from 'node:fs';
import { argv, exit } from 'node:process';
import { libraries } from './libraries.mjs';

const [folder, ...paths] = argv.slice(2);
const complaints = [];
let looked = 0;

for (const [major, data] of Object.entries(libraries(folder))) {
  const known = {
    unit: new Set(data.getValueFormats().flatMap((category) => category.submenu.map((format) => format.value))),
    reducer: new Set(data.fieldReducers.list().map((one) => one.id)),
    'colour mode': new Set(data.fieldColorModeRegistry.list().map((one) => one.id)),
    matcher: new Set(data.fieldMatchers.list().map((one) => one.id)),
    transformation: new Set(Object.values(data.standardTransformers).map((one) => one.id)),
  };
  const theme = data.createTheme();

  for (const path of paths) {
    const board = JSON.parse(readFileSync(path, 'utf8'));
    const look = (kind, word, panel) => {
      looked += 1;
      if (!known[kind].has(word)) complaints.push(`${board.title}, ${panel.title}: Grafana ${major} knows no ${kind} ${word}`);
    };
    const colour = (word, panel) => {
      looked += 1;
      // A name that is no colour of the theme comes back as it was.
      const found = theme.visualization.getColorByName(word);
      if (!/^(#|rgb)/.test(found)) complaints.push(`${board.title}, ${panel.title}: Grafana ${major} knows no colour ${word}`);
    };
    const field = (config, panel) => {
      if (config.unit !== undefined) look('unit', config.unit, panel);
      if (config.color?.mode !== undefined) look('colour mode', config.color.mode, panel);
      if (config.color?.fixedColor !== undefined) colour(config.color.fixedColor, panel);
      for (const step of config.thresholds?.steps ?? []) colour(step.color, panel);
    };
    for (const panel of board.panels.flatMap((one) => [one, ...(one.panels ?? [])])) {
      field(panel.fieldConfig?.defaults ?? {}, panel);
      for (const { matcher, properties } of panel.fieldConfig?.overrides ?? []) {
        look('matcher', matcher.id, panel);
        for (const { id, value } of properties) field({ [id]: value }, panel);
      }
      const { reduceOptions, legend } = panel.options ?? {};
      for (const id of [...(reduceOptions?.calcs ?? []), ...(legend?.calcs ?? [])]) look('reducer', id, panel);
      for (const { id } of panel.transformations ?? []) look('transformation', id, panel);
    }
  }
}

console.log(JSON.stringify({ looked, complaints }));
exit(0);
