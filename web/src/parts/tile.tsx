/** One small gray picture on a canvas: ink where it is bright. */
import { useEffect, useRef } from 'preact/hooks';
import type { Tiles } from '../work/messages.js';

/** Above and below 0, legible on either paper. */
const ABOVE = [190, 84, 40];
const BELOW = [52, 124, 158];

interface TileProps {
  readonly tiles: Tiles;
  readonly index: number;
}

export function Tile({ tiles, index }: TileProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { width, height, pixels, signed } = tiles;
  useEffect(() => {
    const context = canvas.current?.getContext('2d', { willReadFrequently: true });
    if (!context) return;
    const image = new ImageData(width, height);
    const from = index * width * height;
    for (let i = 0; i < width * height; i++) {
      const value = pixels[from + i];
      if (signed) {
        const [r, g, b] = value >= 128 ? ABOVE : BELOW;
        image.data.set([r, g, b, Math.min(255, Math.abs(value - 128) * 2)], 4 * i);
      } else image.data[4 * i + 3] = value;
    }
    context.putImageData(image, 0, 0);
  }, [tiles, index]);
  return <canvas ref={canvas} class={signed ? 'signed' : 'gray'} width={width} height={height} aria-hidden="true" />;
}

/** All of them, with what they are in words. */
export function TileGrid({ tiles, label }: { readonly tiles: Tiles; readonly label: string }) {
  return (
    <div class="tiles" role="img" aria-label={label}>
      {Array.from({ length: tiles.count }, (_, i) => (
        <Tile key={i} tiles={tiles} index={i} />
      ))}
    </div>
  );
}
