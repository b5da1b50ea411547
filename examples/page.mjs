/** The page that an example writes: Markdown, with its pictures as files beside it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A table with numbers to the right: `rows` of cells, each a string or a number. */
export function table(headings, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const numeric = (i) => rows.every((row) => /^[-−]?[\d.,]+( ?[×%].*)?$|^$|^–$/.test(String(row[i])));
  const rule = headings.map((_, i) => (numeric(i) ? '---:' : '---'));
  return [line(headings), line(rule), ...rows.map(line)].join('\n');
}

/** The sentence, where the run bears it out; a page is not written with one that it contradicts. */
export function holds(condition, sentence) {
  if (!condition) throw new Error(`examples: the run contradicts the sentence "${sentence}"`);
  return sentence;
}

export class Page {
  /** @type {string[]} */
  #blocks = [];
  /** @type {Map<string, string>} */
  #pictures = new Map();

  /**
   * @param {string} name of the example
   * @param {string} title
   */
  constructor(name, title) {
    this.name = name;
    this.#blocks.push(
      `# ${title}`,
      `Written by \`npm run examples -- ${name}\` ([the program](../${name}.mjs)); the figures are of that run. It computes in exact mode, whose bits depend on neither machine, engine nor number of threads: a rerun writes the same page.`,
    );
  }

  /** Paragraphs, headings, tables. */
  add(...blocks) {
    this.#blocks.push(...blocks);
  }

  /** A picture, written as `<example>-<name>.svg`. */
  picture(name, svg, alternative) {
    const file = `${this.name}-${name}.svg`;
    this.#pictures.set(file, svg);
    this.#blocks.push(`![${alternative}](${file})`);
  }

  /** Writes page and pictures into the folder; returns the files' paths. */
  write(folder) {
    mkdirSync(folder, { recursive: true });
    const files = new Map([[`${this.name}.md`, `${this.#blocks.join('\n\n')}\n`], ...this.#pictures]);
    return [...files].map(([file, content]) => {
      const path = join(folder, file);
      writeFileSync(path, content);
      return path;
    });
  }
}
