"""What all face detectors have in common."""

import math
from abc import ABC, abstractmethod

from kdloss.errors import DataError


class Detector(ABC):
    """Finds faces."""

    name: str  # in tables and records
    sure = 0.0  # a detection with this score is a face, even if the network states no confidence
    takes_model = False  # whether the user has to bring a model file, which the class then takes as ``model``
    model_sha256 = None  # of the model file
    SMALLEST = 0.03  # side of the smallest face searched for in photographs by default, a share of the shorter side
    LEAST_PIXELS = 0  # side of the smallest face that it can see
    most = math.inf  # faces, and places that may hold one: a picture of more costs too much, see `require_few`

    @abstractmethod
    def detect(self, image):
        """The faces of an image (H, W, 3) uint8 RGB, the best first: (k, 6) float64. A row holds a turned box, see
        `kdloss.data.geometry` (0 where the detector does not see how a face is turned), and a score, which ranks the
        detections of this detector only."""

    def require_few(self, found):
        """Raises `DataError` if these are more than `most`."""
        if len(found) > self.most:
            raise DataError(
                f"image: {len(found)} places may hold a face, expected {self.most} at most: cut it into parts"
            )
