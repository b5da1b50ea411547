/** What was taken for what. */
import { Scroll } from '../../parts/scroll.js';
import { classNames, useText, whole } from '../../state/language.js';
import { learning } from '../../state/learning.js';
import { usePart } from '../../state/store.js';
import { learnText } from '../learnText.js';

export function Confusion() {
  const text = useText(learnText);
  const names = useText(classNames);
  const { confusion } = usePart(learning, 'confusion');
  if (confusion === null) return null;
  const rows = names.map((_, label) => [...confusion.confusion.slice(label * 10, label * 10 + 10)]);
  return (
    <section>
      <h2>{text.confusion}</h2>
      <p class="note">{text.confusionLead(whole(confusion.images))}</p>
      <Scroll label={text.confusion}>
        <table class="confusion">
          <caption class="hidden">{text.confusion}</caption>
          <thead>
            <tr>
              <td />
              {names.map((name) => (
                <th key={name} scope="col">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row, label) => {
              const all = Math.max(
                1,
                row.reduce((a, b) => a + b, 0),
              );
              return (
                <tr key={names[label]}>
                  <th scope="row">{names[label]}</th>
                  {row.map((count, said) => {
                    const color = said === label ? '--cold' : '--warm';
                    const share = Math.round(count === 0 ? 0 : 6 + 34 * (count / all));
                    return (
                      <td
                        key={names[said]}
                        style={{ background: `color-mix(in srgb, var(${color}) ${share}%, var(--sheet))` }}
                      >
                        {count === 0 ? '' : count}
                      </td>
                    );
                  })}
                </tr>
              );
            })}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}
