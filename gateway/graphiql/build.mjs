// Makes graphiql.js, graphiql.css and LICENSES.txt from page.jsx; README.md says when and how.
import { build } from 'esbuild';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const made = await build({
  entryPoints: ['page.jsx'],
  outfile: 'graphiql.js',
  bundle: true,
  minify: true,
  charset: 'utf8',
  target: 'es2020',
  jsx: 'automatic',
  define: { 'process.env.NODE_ENV': '"production"' },
  legalComments: 'none', // LICENSES.txt has them whole
  metafile: true,
});

// The fonts inside the style sheet are left out: five sixths of it, and under licences of their own.
const style = readFileSync('graphiql.css', 'utf8');
writeFileSync('graphiql.css', style.replace(/@font-face\{[^}]*\}/g, ''));

const directories = Object.keys(made.metafile.inputs)
  .map((file) => file.match(/^.*node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/)?.[0])
  .filter(Boolean);
const packagesByText = new Map();
for (const directory of [...new Set(directories)].sort()) {
  const about = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
  const file = readdirSync(directory).find((name) => /^licen[cs]e/i.test(name));
  const text = file
    ? readFileSync(join(directory, file), 'utf8').replace(/\r/g, '').replace(/[ \t]+$/gm, '').trim()
    : `The package holds no text; its package.json says ${about.license}.`;
  const packages = packagesByText.get(text) ?? [];
  packagesByText.set(text, [...packages, `${about.name} ${about.version} (${about.license})`]);
}
const rule = '-'.repeat(80);
const parts = [...packagesByText].map(([text, packages]) => `${packages.join('\n')}\n\n${text}\n`);
const head = 'graphiql.js and graphiql.css hold code of these packages, each under its own licence.\n';
writeFileSync('LICENSES.txt', [head, ...parts].join(`\n${rule}\n\n`));
