// The frames of the camera, one at a time, and the boxes in which the faces of the last one lay.

const LONGEST = 640; // pixels of a frame's longer side
const DETECT_EVERY = 10; // frames; in between, faces are read in the boxes of the last frame

export class Camera {
  #stream = null;
  #video;

  constructor(video) {
    this.#video = video;
  }

  get running() {
    return this.#stream !== null;
  }

  async start() {
    // Browsers hide it from pages that come neither from this machine nor over https.
    if (!navigator.mediaDevices) throw new Error("The browser gives the camera only to localhost and to https pages.");
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: LONGEST } } }).catch(error => {
      throw new Error(error.name === "NotAllowedError" ? "The camera may not be used: allow it in the browser."
        : error.name === "NotFoundError" ? "There is no camera." : `The camera cannot be used: ${error.message}`);
    });
    this.#stream = stream;
    this.#video.srcObject = stream;
    await this.#video.play();
  }

  stop() {
    this.#stream?.getTracks().forEach(track => track.stop());
    this.#stream = this.#video.srcObject = null;
  }

  // The current frame, scaled down: {bitmap, width, height, blob}. The blob is a JPEG file.
  async frame() {
    const { videoWidth, videoHeight } = this.#video;
    const factor = Math.min(1, LONGEST / Math.max(videoWidth, videoHeight));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(videoWidth * factor);
    canvas.height = Math.round(videoHeight * factor);
    canvas.getContext("2d").drawImage(this.#video, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise(resolve => canvas.toBlob(resolve, "image/jpeg", 0.9));
    return { bitmap: canvas, width: canvas.width, height: canvas.height, blob };
  }
}

// The boxes in which a model looks for the faces of the next frame.
export class Track {
  #boxes = null;
  #age = 0;

  // The boxes to send with a frame; null: the detector searches.
  next() {
    return this.#age < DETECT_EVERY ? this.#boxes : null;
  }

  saw({ image, faces, detector, least_confidence: least }) {
    this.#age = detector === "boxes" ? this.#age + 1 : 0;
    const boxes = faces.filter(face => seen(face, least)).map(box).filter(([x, y, width, height]) =>
      width >= 8 && height >= 8 && x + width > 0 && y + height > 0 && x < image.width && y < image.height);
    this.#boxes = boxes.length ? boxes : null;
  }
}

function seen({ confidence }, least) {
  return !confidence || confidence.reduce((sum, value) => sum + value, 0) / confidence.length >= least;
}

// The box around a face's landmarks, as in the training of models, turned like the face.
function box({ landmarks, turn }) {
  const [cos, sin] = [Math.cos(turn), Math.sin(turn)];
  const [x, y] = [landmarks.map(([x, y]) => cos * x + sin * y), landmarks.map(([x, y]) => cos * y - sin * x)];
  const low = [Math.min(...x), Math.min(...y)];
  const [width, height] = [Math.max(...x) - low[0], Math.max(...y) - low[1]];
  const [right, down] = [low[0] + width / 2, low[1] + height / 2];
  return [cos * right - sin * down - width / 2, sin * right + cos * down - height / 2, width, height, turn];
}
