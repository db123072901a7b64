/** What the walks ask of float networks, family by family (SPEC 3.4, 4.4, 5, 6.4). */

import { anchorOf, atAnchor, positionOf } from "./exact.js";

/** Return the weights (1, A) of the rate anchors as an input. */
function anchorInput({ anchor, step }, anchors) {
  const data = new Float32Array(anchors);
  data[anchor] = (64 - step) / 64;
  if (step) data[anchor + 1] = step / 64;
  return { data, shape: [1, anchors] };
}

/** Return row and column of the first latent as an input of decoders with noise. */
const placeInput = (top, left) => ({ data: Float32Array.of(top, left), shape: [1, 2] });

const array = (data, channels, height, width) => ({
  data: data instanceof Float32Array ? data : Float32Array.from(data),
  shape: [1, channels, height, width],
});

function betaNets(weights, graphs, quality, decoder) {
  const { num_anchors: anchors, latent_channels: channels } = weights.sizes;
  const at = anchorOf(positionOf(weights, quality), anchors);
  return {
    async begin(z, height, width) {
      const gain = atAnchor(weights.get("z_log_gain"), at, anchors).map(Math.exp);
      const n = height * width;
      const zHat = Float32Array.from(z, (q, i) => q / gain[Math.floor(i / n)]);
      const [features, widening] = await graphs.run("features", [array(zHat, gain.length, height, width)]);
      const fine = 16 * n;
      const known = array(features, features.length / fine, 4 * height, 4 * width);
      return {
        widening,
        async mean(name, number, decoded) {
          const own = array(decoded, decoded.length / fine, 4 * height, 4 * width);
          const [mean] = await graphs.run(`${name}.${number}`, [known, own]);
          return mean;
        },
      };
    },
    async synthesise([latents], { top, left, rows, columns }) {
      const known = [array(latents, channels, rows, columns), anchorInput(at, anchors)];
      const inputs = [...known, placeInput(top, left)];
      const [values] = await graphs.run("synthesise", inputs, decoder);
      return values;
    },
  };
}

function hierNets(weights, graphs, quality, decoder) {
  const { num_anchors: anchors, latent_channels: channels } = weights.sizes;
  const position = positionOf(weights, quality);
  let features = null;
  return {
    async level(k, hats, at, height, width) {
      const n = height * width;
      let prediction = null;
      let widening = null;
      if (k === 0) {
        const level = atAnchor(weights.get("mean_context.level"), at[0], anchors);
        const data = Float32Array.from({ length: level.length * n }, (_, i) => level[Math.floor(i / n)]);
        features = array(data, level.length, height, width);
      } else {
        const above = array(hats[k - 1], channels[k - 1], height / 2, width / 2);
        const inputs = [above, features, anchorInput(at[k - 1], anchors)];
        const [own, predicted, wider] = await graphs.run(`context.${k}`, inputs);
        features = array(own, own.length / n, height, width);
        [prediction, widening] = [predicted, wider];
      }
      return {
        prediction,
        widening,
        async mean(number, decoded) {
          const known = array(decoded, channels[k], height, width);
          const [mean] = await graphs.run(`mean.${k}.${number}`, [features, known]);
          return mean;
        },
      };
    },
    async synthesise(levels, { top, left, rows, columns }) {
      const hats = levels.map((data, k) => array(data, channels[k], rows << k, columns << k));
      const inputs = [...hats, anchorInput(anchorOf(position, anchors), anchors), placeInput(4 * top, 4 * left)];
      const [values] = await graphs.run("synthesise", inputs, decoder);
      return values;
    },
  };
}

function discreteNets(weights, graphs, quality, decoder) {
  const { latent_channels: dims, stages } = weights.sizes;
  const stage = Math.floor(((quality - 1) * stages) / 100);
  return {
    async synthesise([latents], { rows, columns }) {
      const choice = { data: new Float32Array(stages), shape: [1, stages] };
      choice.data[stage] = 1;
      const inputs = [array(latents, dims, rows, columns), choice];
      const [values] = await graphs.run("synthesise", inputs, decoder);
      return values;
    },
  };
}

function convVaeNets(weights, graphs, quality, decoder) {
  const { latent_channels: dims } = weights.sizes;
  return {
    async synthesise([latents], { rows, columns }) {
      const [values] = await graphs.run("synthesise", [array(latents, dims, rows, columns)], decoder);
      return values;
    },
  };
}

const NETS = { beta: betaNets, hier: hierNets, vq: discreteNets, cv: discreteNets, convvae: convVaeNets };

/** Return the networks of a file of a quality, with one of the decoders of its model. */
export function netsOf(family, weights, graphs, quality, decoder) {
  return NETS[family](weights, graphs, quality, decoder);
}
