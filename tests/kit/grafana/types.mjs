// node types.mjs LIBRARIES DASHBOARD...: prints the faults that TypeScript finds in dashboards as values of
// @grafana/schema's own types.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { createRequire } from 'node:module';
import { argv, exit } from 'node:process';
import { MAJORS } from './libraries.mjs';

const [folder, ...paths] = argv.slice(2);
const ts = createRequire(`${folder}/package.json`)('typescript');

// Enums are strings in JSON. An unknown field is an error, because the value is written where its type is known.
const PLAIN = `
type Plain<T> = T extends string ? \`\${T}\` : T extends (infer One)[] ? Plain<One>[]
  : T extends object ? { [Key in keyof T]: Plain<T[Key]> } : T;
`;
const OPTIONS = {
  stat: ['raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen', 'Options', 'unknown'],
  timeseries: ['raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen', 'Options', 'FieldConfig'],
};

function program(major, dashboard) {
  const lines = [`import type { Dashboard } from 'schema-${major}';`];
  for (const [kind, [path, options, custom]] of Object.entries(OPTIONS)) {
    const names = custom === 'unknown' ? `${options} as ${kind}Options` : `${options} as ${kind}Options, ${custom} as ${kind}Custom`;
    lines.push(`import type { ${names} } from './node_modules/schema-${major}/dist/esm/${path}';`);
  }
  lines.push('type statCustom = Record<string, never>;', PLAIN);
  lines.push(`export const dashboard: Plain<Dashboard> = ${JSON.stringify(dashboard)};`);
  for (const panel of dashboard.panels.filter((item) => item.type !== 'row')) {
    lines.push(`export const options${panel.id}: Plain<Partial<${panel.type}Options>> = ${JSON.stringify(panel.options)};`);
    const custom = JSON.stringify(panel.fieldConfig.defaults.custom ?? {});
    lines.push(`export const custom${panel.id}: Plain<Partial<${panel.type}Custom>> = ${custom};`);
  }
  return lines.join('\n');
}

const files = new Map();
for (const major of MAJORS) {
  for (const path of paths) {
    const dashboard = JSON.parse(readFileSync(path, 'utf8'));
    files.set(`${folder}/${major}-${basename(path, '.json')}.ts`, program(major, dashboard));
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
host.getSourceFile = (name, target, ...options) =>
  files.has(name) ? ts.createSourceFile(name, files.get(name), target) : getSourceFile(name, target, ...options);
const diagnostics = ts.getPreEmitDiagnostics(ts.createProgram([...files.keys()], settings, host));
const faults = diagnostics.map((item) => {
  const line = item.file ? item.file.text.slice(item.start, item.start + 60).replaceAll('\n', ' ') : '';
  return `${basename(item.file?.fileName ?? '')}: ${ts.flattenDiagnosticMessageText(item.messageText, ' ')} at ${line}`;
});
console.log(JSON.stringify({ checked: files.size, faults }));
exit(0);
