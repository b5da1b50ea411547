/** The chapter's four figures. The blocks and the network are drawn from the layers that the code tells of. */
import type { ComponentChildren } from 'preact';
import { Term } from '../../parts/fields.js';
import { dictionary, useText } from '../../state/language.js';
import type { LayerRow } from '../../work/messages.js';
import { unitsOf } from './plates.js';

const texts = dictionary(
  {
    title: 'The chapter’s figures',
    note: 'Drawn by this page; the last two from the network itself.',
    classes:
      'For non-nested function classes, a larger one (by area) need not come closer to the “truth” f*. Nested ones cannot lose what the smaller had.',
    residual:
      'In a regular block (left), the part within the dotted line must learn the mapping f(x). In a residual block (right) it needs to learn the residual mapping f(x) − x.',
    block: 'ResNet block with and without the 1×1 convolution, which brings the input to the shape of the sum.',
    network: 'The ResNet-18 architecture: four modules of two residual blocks.',
    terms: {
      classes: 'classes de função aninhadas',
      residual: 'bloco residual, mapeamento residual',
      block: 'bloco ResNet, convolução 1×1',
      network: 'arquitetura ResNet-18',
    },
    nonNested: 'Non-nested function classes',
    nested: 'Nested function classes',
    regular: 'Regular block',
    residualBlock: 'Residual block',
    weight: 'Weight layer',
    activation: 'Activation function',
    x: 'x',
    fx: 'f(x)',
    gx: 'f(x) − x',
    norm: 'Batch norm',
    conv: 'Conv',
    pool: 'Max pool',
    average: 'Global average pooling',
    dense: 'Fully connected',
  },
  {
    title: 'As figuras do capítulo',
    note: 'Desenhadas por esta página; as duas últimas a partir da própria rede.',
    classes:
      'Para classes de função não aninhadas, uma classe de função maior (indicada por área) não garante a aproximação da função “verdade” f*. Isso não acontece em classes de funções aninhadas.',
    residual:
      'Em um bloco regular (esquerda), a parte dentro da linha pontilhada deve aprender o mapeamento f(x). Em um bloco residual (direita), precisa aprender o mapeamento residual f(x) − x.',
    block: 'Bloco ResNet com e sem convolução 1×1, que leva a entrada à forma da soma.',
    network: 'A arquitetura ResNet-18: quatro módulos de dois blocos residuais.',
    terms: { classes: '', residual: '', block: '', network: '' },
    nonNested: 'Classes de função não aninhadas',
    nested: 'Classes de função aninhadas',
    regular: 'Bloco regular',
    residualBlock: 'Bloco residual',
    weight: 'Camada de peso',
    activation: 'Função de ativação',
    x: 'x',
    fx: 'f(x)',
    gx: 'f(x) − x',
    norm: 'Norm. em lote',
    conv: 'Conv',
    pool: 'Pooling máx.',
    average: 'Pooling global média',
    dense: 'Totalmente conectada',
  },
);

function Box({
  x,
  y,
  w = 120,
  h = 26,
  tint = false,
  children,
}: {
  readonly x: number;
  readonly y: number;
  readonly w?: number;
  readonly h?: number;
  readonly tint?: boolean;
  readonly children: ComponentChildren;
}) {
  return (
    <g>
      <rect class={`box ${tint ? 'tint' : ''}`} x={x - w / 2} y={y} width={w} height={h} rx="3" />
      <text x={x} y={y + h / 2 + 4.5} text-anchor="middle">
        {children}
      </text>
    </g>
  );
}

/** From below to above, as the chapter draws. */
function Up({ x, from, to }: { readonly x: number; readonly from: number; readonly to: number }) {
  return (
    <g>
      <path class="line" d={`M${x} ${from}V${to + 5}`} />
      <path d={`M${x - 4} ${to + 7}L${x} ${to}L${x + 4} ${to + 7}Z`} fill="currentColor" />
    </g>
  );
}

function Plus({ x, y }: { readonly x: number; readonly y: number }) {
  return (
    <g>
      <circle class="box" cx={x} cy={y} r="9" />
      <path class="line" d={`M${x - 5} ${y}h10M${x} ${y - 5}v10`} />
    </g>
  );
}

/** A shortcut to the right of a column, from the trunk below to the sum above. */
function Shortcut({
  x,
  from,
  to,
  reach,
}: {
  readonly x: number;
  readonly from: number;
  readonly to: number;
  readonly reach: number;
}) {
  return (
    <g>
      <path
        class="shortcut"
        d={`M${x} ${from}H${x + reach - 14}Q${x + reach} ${from} ${x + reach} ${from - 14}V${to + 14}Q${x + reach} ${to} ${x + reach - 14} ${to}H${x + 16}`}
      />
      <path class="warm" d={`M${x + 17} ${to - 4}L${x + 10} ${to}L${x + 17} ${to + 4}Z`} />
    </g>
  );
}

function Classes() {
  const text = useText(texts);
  // Centre, radii and turn of each class; the truth lies at the star.
  const loose = [
    [112, 168, 18, 13, -20],
    [96, 122, 34, 25, 15],
    [148, 92, 42, 32, -30],
    [160, 176, 54, 38, 10],
    [108, 208, 64, 44, 24],
    [86, 150, 74, 62, -15],
  ];
  const LABELS = [
    [0, 0.35],
    [-0.35, -0.35],
    [0.3, -0.4],
    [0.6, 0.2],
    [0.1, 0.72],
    [-0.74, 0.2],
  ];
  const star = (x: number, y: number) => (
    <g>
      <circle cx={x} cy={y} r="3.5" class="warm" />
      <text x={x + 8} y={y - 4} class="math">
        f*
      </text>
    </g>
  );
  return (
    <svg class="drawing" viewBox="0 0 520 290" role="img" aria-label={text.classes}>
      <text x="120" y="18" text-anchor="middle">
        {text.nonNested}
      </text>
      <text x="390" y="18" text-anchor="middle">
        {text.nested}
      </text>
      {loose.map(([cx, cy, rx, ry, turn], i) => (
        <g key={cx}>
          <ellipse class="line" {...{ cx, cy, rx, ry }} transform={`rotate(${turn} ${cx} ${cy})`} />
          <text x={cx + rx * LABELS[i][0]} y={cy + ry * LABELS[i][1]} text-anchor="middle" class="small">
            F{i + 1}
          </text>
        </g>
      ))}
      {star(196, 52)}
      {[1, 2, 3, 4, 5, 6].map((i) => (
        <g key={i}>
          <ellipse
            class="line"
            cx={330 + i * 11}
            cy={172 - i * 7}
            rx={6 + i * 17}
            ry={4 + i * 13.5}
            transform={`rotate(-32 ${330 + i * 11} ${172 - i * 7})`}
          />
          <text x={341 + (i - 1) * 25} y={168 - (i - 1) * 17 + 2} text-anchor="middle" class="small">
            F{i}
          </text>
        </g>
      ))}
      {star(490, 52)}
    </svg>
  );
}

function ResidualFigure() {
  const text = useText(texts);
  const column = (x: number, residual: boolean) => (
    <g>
      <Up x={x} from={318} to={262} />
      <text x={x} y={336} text-anchor="middle" class="math">
        {text.x}
      </text>
      <Box x={x} y={232} w={134}>
        {text.weight}
      </Box>
      <Up x={x} from={232} to={212} />
      <Box x={x} y={182} w={134}>
        {text.activation}
      </Box>
      <Up x={x} from={182} to={162} />
      <Box x={x} y={132} w={134}>
        {text.weight}
      </Box>
      <rect class="line dashed" x={x - 80} y={120} width={160} height={152} rx="4" />
      <Up x={x} from={132} to={residual ? 96 : 66} />
      <text x={x - 12} y={112} text-anchor="end" class="math">
        {residual ? text.gx : text.fx}
      </text>
      {residual && (
        <g>
          <Plus x={x} y={86} />
          <Up x={x} from={77} to={62} />
          <Shortcut x={x} from={292} to={86} reach={98} />
          <text x={x - 14} y={82} text-anchor="end" class="math">
            {text.fx}
          </text>
        </g>
      )}
      <Box x={x} y={34} w={134}>
        {text.activation}
      </Box>
      <Up x={x} from={34} to={16} />
    </g>
  );
  return (
    <svg class="drawing" viewBox="0 0 520 366" role="img" aria-label={text.residual}>
      {column(120, false)}
      {column(360, true)}
      <text x="120" y="360" text-anchor="middle" class="small">
        {text.regular}
      </text>
      <text x="360" y="360" text-anchor="middle" class="small">
        {text.residualBlock}
      </text>
    </svg>
  );
}

/** One block from below to above, by the layers that were called in it. */
function BlockColumn({
  layers,
  name,
  x,
}: {
  readonly layers: readonly LayerRow[];
  readonly name: string;
  readonly x: number;
}) {
  const text = useText(texts);
  const inside = layers.filter((l) => l.name.startsWith(`${name}.`) && l.leaf);
  const conv = (n: number) => inside.find((l) => l.name === `${name}.conv${n}`);
  const [one, two, three] = [conv(1), conv(2), conv(3)];
  const label = (l: LayerRow | undefined): string => `${l?.kernel ?? ''} ${text.conv}, ${l?.output[1] ?? ''}`;
  const rows = [label(one), text.norm, 'ReLU', label(two), text.norm];
  const bottom = 352;
  return (
    <g>
      <Up x={x} from={bottom + 34} to={bottom} />
      {rows.map((row, i) => (
        <g key={String(i)}>
          <Box x={x} y={bottom - 28 - i * 44} w={128} h={28} tint={row === text.norm || row === 'ReLU'}>
            {row}
          </Box>
          <Up x={x} from={bottom - 28 - i * 44} to={i === 4 ? bottom - 236 : bottom - 44 - i * 44} />
        </g>
      ))}
      <Plus x={x} y={bottom - 246} />
      <Up x={x} from={bottom - 255} to={bottom - 272} />
      <Box x={x} y={bottom - 300} w={128} h={28} tint>
        ReLU
      </Box>
      <Up x={x} from={bottom - 300} to={bottom - 322} />
      <Shortcut x={x} from={bottom + 16} to={bottom - 246} reach={three ? 122 : 92} />
      {three && (
        <Box x={x + 122} y={bottom - 130} w={86} h={28}>
          {`${three.kernel}, ${three.output[1]}`}
        </Box>
      )}
    </g>
  );
}

function BlockFigure({ layers }: { readonly layers: readonly LayerRow[] }) {
  const text = useText(texts);
  const blocks = unitsOf(layers).filter((u) => u.block);
  const [same, changed] = [blocks.find((b) => !b.projected), blocks.find((b) => b.projected)];
  return (
    <svg class="drawing" viewBox="0 0 520 396" role="img" aria-label={text.block}>
      {same && <BlockColumn layers={layers} name={same.row.name} x={90} />}
      {changed && <BlockColumn layers={layers} name={changed.row.name} x={330} />}
    </svg>
  );
}

function NetworkFigure({ layers }: { readonly layers: readonly LayerRow[] }) {
  const text = useText(texts);
  const named = (row: LayerRow): string => {
    const [, channels] = row.output;
    if (row.type === 'Conv2d') return `${row.kernel} ${text.conv}, ${channels}`;
    if (row.type === 'MaxPool2d') return `${row.kernel} ${text.pool}`;
    if (row.type === 'AdaptiveAvgPool2d') return text.average;
    if (row.type === 'Linear') return `${text.dense}, ${channels}`;
    return `${row.type}, ${channels}`;
  };
  const units = unitsOf(layers);
  // Two columns: up the left one, then up the right one.
  const half = Math.ceil(units.length / 2);
  const place = (i: number): { x: number; y: number } => ({
    x: i < half ? 126 : 380,
    y: 340 - (i % half) * 54,
  });
  const height = 30;
  return (
    <svg class="drawing" viewBox="0 0 520 396" role="img" aria-label={text.network}>
      {units.map((unit, i) => {
        const { x, y } = place(i);
        const first = i % half === 0;
        return (
          <g key={unit.row.name}>
            <Up x={x} from={first ? y + 48 : y + 54} to={y + height} />
            {unit.block && (
              <g>
                <Shortcut x={x} from={y + height + 12} to={y - 8} reach={112} />
                {unit.projected && <rect class="warm" x={x + 107} y={y + 11} width="10" height="10" />}
              </g>
            )}
            <Box x={x} y={y} w={176} h={height} tint={!unit.block}>
              {named(unit.row)}
            </Box>
            {(i === half - 1 || i === units.length - 1) && <Up x={x} from={y} to={y - 20} />}
          </g>
        );
      })}
      <path class="line dashed" d="M126 48H253V388H380" opacity="0.6" />
    </svg>
  );
}

export function Figures({ layers }: { readonly layers: readonly LayerRow[] }) {
  const text = useText(texts);
  return (
    <section>
      <h2>{text.title}</h2>
      <p class="note">{text.note}</p>
      <div class="gallery">
        <figure>
          <Classes />
          <figcaption>
            {text.classes} <Term>{text.terms.classes}</Term>
          </figcaption>
        </figure>
        <figure>
          <ResidualFigure />
          <figcaption>
            {text.residual} <Term>{text.terms.residual}</Term>
          </figcaption>
        </figure>
        <figure>
          <BlockFigure layers={layers} />
          <figcaption>
            {text.block} <Term>{text.terms.block}</Term>
          </figcaption>
        </figure>
        <figure>
          <NetworkFigure layers={layers} />
          <figcaption>
            {text.network} <Term>{text.terms.network}</Term>
          </figcaption>
        </figure>
      </div>
    </section>
  );
}
