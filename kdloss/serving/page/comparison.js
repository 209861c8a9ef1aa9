// The distance between the points of two models.

import { side } from "./overlay.js";

const MINIMUM_IOU = 0.3;

function overlap([ax, ay, aw, ah], [bx, by, bw, bh]) {
  const width = Math.min(ax + aw, bx + bw) - Math.max(ax, bx), height = Math.min(ay + ah, by + bh) - Math.max(ay, by);
  const shared = Math.max(width, 0) * Math.max(height, 0);
  return shared / (aw * ah + bw * bh - shared);
}

// The faces that both models found: each of the first with the best overlapping one of the second, each used once.
function pairs(first, second) {
  const left = [...second], found = [];
  for (const face of first) {
    const shared = left.map(other => overlap(face.box, other.box));
    const best = shared.indexOf(Math.max(...shared));
    if (best >= 0 && shared[best] >= MINIMUM_IOU) found.push([face, ...left.splice(best, 1)]);
  }
  return found;
}

// The number of faces that both models found, and the mean and largest distance of their points in percent of the side
// of the face box (the mean side of both boxes). null if the models read different points.
export function compare(first, second) {
  const same = pairs(first, second);
  if (same.some(([a, b]) => a.landmarks.length !== b.landmarks.length)) return null;
  const distances = same.flatMap(([a, b]) => a.landmarks.map(([x, y], i) =>
    100 * Math.hypot(x - b.landmarks[i][0], y - b.landmarks[i][1]) / ((side(a) + side(b)) / 2)));
  return {
    faces: same.length,
    mean: distances.reduce((sum, distance) => sum + distance, 0) / distances.length,
    largest: Math.max(...distances),
  };
}
