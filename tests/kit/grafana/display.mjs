// node display.mjs LIBRARIES <FIELDS: prints the text that each Grafana shows for values, read from standard input as
// [{"config": a panel's field defaults, "value": 0.5}], as {"11": ["50%"], ...}.
import { readFileSync } from 'node:fs';
import { argv, exit } from 'node:process';
import { libraries } from './libraries.mjs';

const samples = JSON.parse(readFileSync(0, 'utf8'));
const shown = {};
for (const [major, data] of Object.entries(libraries(argv[2]))) {
  const theme = data.createTheme();
  shown[major] = samples.map(({ config, value }) => {
    const field = { name: 'value', type: data.FieldType.number, config, values: [value] };
    return data.formattedValueToString(data.getDisplayProcessor({ field, theme })(value));
  });
}
console.log(JSON.stringify(shown));
exit(0);
