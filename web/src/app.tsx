/** The frame of the page: masthead, the view that the address names, what the browser allows. */
import type { ComponentType } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { address, hrefOf, lastParams, VIEWS, type View } from './state/address.js';
import { dictionary, language, setLanguage, setTheme, theme, useText } from './state/language.js';
import { useStore } from './state/store.js';
import { Judge } from './views/judge.js';
import { Learn } from './views/learn.js';
import { Look } from './views/look.js';
import { Measure } from './views/measure.js';

const texts = dictionary(
  {
    learn: 'Learn',
    look: 'Look',
    judge: 'Judge',
    measure: 'Measure',
    skip: 'To the content',
    views: 'Views',
    dark: 'Dark',
    light: 'Light',
    other: 'Português',
    alone:
      'This page is not cross-origin isolated, so the browser gives it no shared memory: wasm computes on one thread. The bits are the same.',
    isolated: (n: number) => `Isolated: up to ${n} threads`,
    single: 'Not isolated: one thread',
    about: 'Residual networks in TypeScript, exact and fast. Everything is computed in this page.',
  },
  {
    learn: 'Aprender',
    look: 'Olhar',
    judge: 'Julgar',
    measure: 'Medir',
    skip: 'Ao conteúdo',
    views: 'Vistas',
    dark: 'Escuro',
    light: 'Claro',
    other: 'English',
    alone:
      'Esta página não está isolada de outras origens, e o navegador não lhe dá memória compartilhada: wasm calcula com uma thread. Os bits são os mesmos.',
    isolated: (n: number) => `Isolada: até ${n} threads`,
    single: 'Não isolada: uma thread',
    about: 'Redes residuais em TypeScript, exatas e rápidas. Tudo é calculado nesta página.',
  },
);

const views: Readonly<Record<View, ComponentType>> = { learn: Learn, look: Look, judge: Judge, measure: Measure };

export function App() {
  const text = useText(texts);
  const { view } = useStore(address);
  const lang = useStore(language);
  const tone = useStore(theme);
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  useEffect(() => {
    document.title = `${text[view]} · atalho`;
  }, [view, lang]);
  useEffect(() => {
    // A new view is where reading goes on, but not when the page opens.
    if (!first.current) {
      main.current?.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    first.current = false;
  }, [view]);
  const Shown = views[view];
  return (
    <>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        {text.skip}
      </button>
      <header class="masthead">
        <a class="wordmark" href={hrefOf('learn', lastParams.learn)}>
          <svg viewBox="0 0 22 18" aria-hidden="true">
            <path d="M1 15h20M4 15C4 2 18 2 18 15" fill="none" stroke="currentColor" stroke-width="1.75" />
          </svg>
          atalho
        </a>
        <nav aria-label={text.views}>
          {VIEWS.map((one) => (
            <a key={one} href={hrefOf(one, lastParams[one])} aria-current={one === view ? 'page' : undefined}>
              {text[one]}
            </a>
          ))}
        </nav>
        <div class="switches">
          <button
            type="button"
            lang={lang === 'en' ? 'pt-BR' : 'en'}
            onClick={() => setLanguage(lang === 'en' ? 'pt' : 'en')}
          >
            {text.other}
          </button>
          <button type="button" onClick={() => setTheme(tone === 'dark' ? 'light' : 'dark')}>
            {tone === 'dark' ? text.light : text.dark}
          </button>
        </div>
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        {!crossOriginIsolated && (
          <p class="notice" role="note" data-alone>
            {text.alone}
          </p>
        )}
        <Shown />
      </main>
      <footer class="colophon">
        <span>atalho {__VERSION__}</span>
        <span>{text.about}</span>
        <span>{crossOriginIsolated ? text.isolated(navigator.hardwareConcurrency) : text.single}</span>
      </footer>
    </>
  );
}
