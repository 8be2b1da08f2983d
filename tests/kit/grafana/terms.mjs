// node terms.mjs LIBRARIES DASHBOARD...: prints every unit, reducer, colour, matcher and transformation of the
// dashboards that a Grafana does not know, as JSON.
import { readFileSync } from 'node:fs';
import { argv, exit } from 'node:process';
import { libraries } from './libraries.mjs';

const [folder, ...paths] = argv.slice(2);
const faults = [];
let checked = 0;

for (const [major, data] of Object.entries(libraries(folder))) {
  const known = {
    unit: new Set(data.getValueFormats().flatMap((category) => category.submenu.map((format) => format.value))),
    reducer: new Set(data.fieldReducers.list().map((item) => item.id)),
    'colour mode': new Set(data.fieldColorModeRegistry.list().map((item) => item.id)),
    matcher: new Set(data.fieldMatchers.list().map((item) => item.id)),
    transformation: new Set(Object.values(data.standardTransformers).map((item) => item.id)),
  };
  const theme = data.createTheme();

  for (const path of paths) {
    const dashboard = JSON.parse(readFileSync(path, 'utf8'));
    const check = (kind, term, panel) => {
      checked += 1;
      if (!known[kind].has(term)) faults.push(`${dashboard.title}, ${panel.title}: Grafana ${major} knows no ${kind} ${term}`);
    };
    const colour = (term, panel) => {
      checked += 1;
      // An unknown name comes back unchanged.
      const found = theme.visualization.getColorByName(term);
      if (!/^(#|rgb)/.test(found)) faults.push(`${dashboard.title}, ${panel.title}: Grafana ${major} knows no colour ${term}`);
    };
    const field = (config, panel) => {
      if (config.unit !== undefined) check('unit', config.unit, panel);
      if (config.color?.mode !== undefined) check('colour mode', config.color.mode, panel);
      if (config.color?.fixedColor !== undefined) colour(config.color.fixedColor, panel);
      for (const step of config.thresholds?.steps ?? []) colour(step.color, panel);
    };
    for (const panel of dashboard.panels.flatMap((item) => [item, ...(item.panels ?? [])])) {
      field(panel.fieldConfig?.defaults ?? {}, panel);
      for (const { matcher, properties } of panel.fieldConfig?.overrides ?? []) {
        check('matcher', matcher.id, panel);
        for (const { id, value } of properties) field({ [id]: value }, panel);
      }
      const { reduceOptions, legend } = panel.options ?? {};
      for (const id of [...(reduceOptions?.calcs ?? []), ...(legend?.calcs ?? [])]) check('reducer', id, panel);
      for (const { id } of panel.transformations ?? []) check('transformation', id, panel);
    }
  }
}

console.log(JSON.stringify({ checked, faults }));
exit(0);
