/** From streams to latents: the walk of every tile of a file. */

import * as beta from "./beta.js";
import * as convvae from "./convvae.js";
import * as discrete from "./discrete.js";
import { CorruptStreamError, TruncatedStreamError } from "./errors.js";
import * as hier from "./hier.js";
import { PassDecoder, PrefixDecoder } from "./rangecoder.js";

/** The only place that names all families. */
export const FAMILIES = { beta, hier, vq: discrete, cv: discrete, convvae };

/**
 * Return the tiles of a picture as it is coded, in rows; sides are those of the padded picture.
 * @returns {{top: number, left: number, height: number, width: number}[]}
 */
export function tileGrid({ coded: { height, width }, tilePx }, stride) {
  const [bottom, right] = [height, width].map((side) => Math.ceil(side / stride) * stride);
  const tiles = [];
  for (let top = 0; top < height; top += tilePx) {
    for (let left = 0; left < width; left += tilePx) {
      tiles.push({
        top,
        left,
        height: Math.min(tilePx, bottom - top),
        width: Math.min(tilePx, right - left),
      });
    }
  }
  return tiles;
}

/** Return which passes share a segment, by level: all of a level, or of several tiles none. */
function segmentsOf(levels, numTiles) {
  return numTiles === 1 ? levels.map((names) => [names]) : levels.map((names) => names.map((n) => [n]));
}

/**
 * Walk through all tiles of a file.
 *
 * @param {Stream} stream
 * @param {Weights} weights
 * @param {?object} nets float networks of the family; null where integers are all that is wanted
 * @param {{observe?: (string, Int32Array) => void, progress?: (number) => void}} options
 *   `observe` gets the name and the integers of every block, `progress` the share that is done
 * @returns {Promise<{tile: object, latents: *}[]>} latents of each tile
 */
export async function decodeLatents(stream, weights, nets, { observe, progress } = {}) {
  const { header } = stream;
  const family = FAMILIES[weights.metadata.family];
  const tiles = tileGrid(header, family.STRIDE);
  const levels = segmentsOf(family.passesOf(weights.sizes, header.quality), tiles.length);
  const sizes = levels.map((level) => level.length);
  const numSegments = sizes.reduce((sum, size) => sum + size, 0);
  const isOther = stream.isComplete && String(stream.levels) !== String(sizes);
  if (header.numSegments !== numSegments || isOther) {
    throw new CorruptStreamError(
      `levels of ${stream.levels} segments, but ${weights.metadata.id} writes ${sizes}`,
    );
  }
  const segmentOf = new Map(
    levels.flat().flatMap((names, number) => names.map((name) => [name, number])),
  );
  const results = [];
  let isEmpty = true;
  for (const [number, tile] of tiles.entries()) {
    const decoders = decodersOf(stream, weights.tables, number);
    const reader = {
      read(name, indexes) {
        const answer = decoders[segmentOf.get(name)]?.decode(indexes) ?? null;
        if (answer) {
          isEmpty = false;
          observe?.(name, answer);
        }
        return answer;
      },
    };
    const shape = { height: tile.height / family.STRIDE, width: tile.width / family.STRIDE };
    const latents = await family.decodeTile(weights, shape, header.quality, reader, nets);
    if (isEmpty && !stream.isComplete) {
      throw new TruncatedStreamError("the stream is cut short: it ends before the first pass");
    }
    results.push({ tile, latents });
    progress?.((number + 1) / tiles.length);
  }
  return results;
}

/** Return a decoder for each segment of a tile that is there, the last perhaps in part. */
function decodersOf(stream, tables, number) {
  const decoders = stream.segments.map((streams) => new PassDecoder(tables, streams[number]));
  const { cut } = stream;
  if (cut && number < cut.streams.length) {
    decoders.push(new PrefixDecoder(tables, cut.streams[number], 0));
  } else if (cut && number === cut.streams.length) {
    decoders.push(new PrefixDecoder(tables, cut.beginning, cut.missingBytes));
  }
  return decoders;
}
