// node types.mjs LIBRARIES BOARD...: what TypeScript says to the boards as values of @grafana/schema's own types.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { createRequire } from 'node:module';
import { argv, exit } from 'node:process';
import { MAJORS } from './libraries.mjs';

const [folder, ...paths] = argv.slice(2);
const ts = createRequire(`${folder}/package.json`)('typescript');

// Enums are words in JSON. A field that the type does not have is an error, as the value is written where the type is.
const PLAIN = `
type Plain<T> = T extends string ? \`\${T}\` : T extends (infer One)[] ? Plain<One>[]
  : T extends object ? { [Key in keyof T]: Plain<T[Key]> } : T;
`;
const OPTIONS = {
  stat: ['raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen', 'Options', 'unknown'],
  timeseries: ['raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen', 'Options', 'FieldConfig'],
};

function program(major, board) {
  const lines = [`import type { Dashboard } from 'schema-${major}';`];
  for (const [kind, [path, options, custom]] of Object.entries(OPTIONS)) {
    const names = custom === 'unknown' ? `${options} as ${kind}Options` : `${options} as ${kind}Options, ${custom} as ${kind}Custom`;
    lines.push(`import type { ${names} } from './node_modules/schema-${major}/dist/esm/${path}';`);
  }
  lines.push('type statCustom = Record<string, never>;', PLAIN);
  lines.push(`export const board: Plain<Dashboard> = ${JSON.stringify(board)};`);
  for (const panel of board.panels.filter((one) => one.type !== 'row')) {
    lines.push(`export const options${panel.id}: Plain<Partial<${panel.type}Options>> = ${JSON.stringify(panel.options)};`);
    const custom = JSON.stringify(panel.fieldConfig.defaults.custom ?? {});
    lines.push(`export const custom${panel.id}: Plain<Partial<${panel.type}Custom>> = ${custom};`);
  }
  return lines.join('\n');
}

const files = new Map();
for (const major of MAJORS) {
  for (const path of paths) {
    const board = JSON.parse(readFileSync(path, 'utf8'));
    files.set(`${folder}/${major}-${basename(path, '.json')}.ts`, program(major, board));
  }
}
const settings = {
  noEmit: true,
  strict: true,
  skipLibCheck: true,
  types: [],
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
};
const host = ts.createCompilerHost(settings);
const { fileExists, readFile, getSourceFile } = host;
host.fileExists = (name) => files.has(name) || fileExists(name);
host.readFile = (name) => files.get(name) ?? readFile(name);
host.getSourceFile = (name, target, ...more) =>
  files.has(name) ? ts.createSourceFile(name, files.get(name), target) : getSourceFile(name, target, ...more);
const said = ts.getPreEmitDiagnostics(ts.createProgram([...files.keys()], settings, host));
const complaints = said.map((one) => {
  const line = one.file ? one.file.text.slice(one.start, one.start + 60).replaceAll('\n', ' ') : '';
  return `${basename(one.file?.fileName ?? '')}: ${ts.flattenDiagnosticMessageText(one.messageText, ' ')} at ${line}`;
});
console.log(JSON.stringify({ looked: files.size, complaints }));
exit(0);
