"""The shape model: a mean, modes and their variances (PCA), and the clip that makes landmarks soft.

Formula (Fard and Mahoor, CVIU 215, 2022; active shape models: Cootes et al. 1995): with modes E and eigenvalues
lambda, b = E'(s - mean), b_i clipped to +-3 sqrt(lambda_i), s' = mean + E b.
"""

import json
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from asm.procrustes import LARGEST, ShapeError, checked_points, fit_similarity, procrustes_mean

FORMAT = "asm.shape_model"
VERSION = 1

# A file that unpacks to more is refused. A model of 1000 points and all of their modes has 32 MB.
_MOST_BYTES = 256 << 20
# Standard deviations below this share of the coordinates are rounding, not modes.
_ROUNDING = 1e-10
# Eigenvalues below this share of the largest one are inexact; singular values are then used instead.
_LOW = 1e-6


@dataclass(frozen=True, eq=False)
class ShapeModel:
    """A linear model of shapes of N points, made by `ShapeModel.fit` or `ShapeModel.load`.

    Points go in and come out in the unit that the model was fitted on. All methods take whole arrays, compute in
    float64 and return the floating type they were given.

    Examples:
        >>> model = ShapeModel.fit(shapes, variance=0.90)
        >>> soft = model.soften(shapes)
    """

    mean: np.ndarray  # (N, 2)
    modes: np.ndarray  # (k, N, 2), orthonormal, the greatest variance first
    spectrum: np.ndarray  # (r,) variances (denominator n - 1) of all r >= k modes of the training shapes, descending
    reference: np.ndarray | None = None  # (N, 2), to which shapes are aligned before anything else
    metadata: dict = field(default_factory=dict)  # free strings, for example the scheme's name

    def __post_init__(self):
        if problem := self._problem():
            raise ShapeError(f"shape model: {problem}")

    @classmethod
    def fit(cls, shapes, variance=None, modes=None, align=False, metadata=None):
        """Fits the model by PCA.

        Args:
            shapes: (n, N, 2), n >= 2, finite and not all the same.
            variance: share of the variance to keep, in (0, 1], with as few modes as possible. The paper keeps 0.90.
            modes: number of modes to keep. Give either this or ``variance``.
            align: align the shapes to their Procrustes mean first. The paper aligns nothing.
            metadata: dict of strings to keep with the model.

        Raises:
            ShapeError: the shapes are of another kind, or have fewer modes than asked for.
        """
        if (variance is None) == (modes is None):
            raise ShapeError("shape model: give either a share of variance or a number of modes, and not both")
        points = checked_points(shapes, "training shapes")
        if points.ndim != 3 or len(points) < 2:
            raise ShapeError(f"training shapes: found an array of shape {points.shape}, expected (n, N, 2) with n >= 2")
        reference = None
        if align:
            reference = procrustes_mean(points)
            points = fit_similarity(reference, points).inverse().apply(points)
        flat = points.reshape(len(points), -1)
        mean = flat.mean(axis=0)
        spectrum, axes = _principal_axes(flat - mean)
        spectrum = spectrum[spectrum > (_ROUNDING * np.abs(flat).max()) ** 2]
        if not len(spectrum):
            raise ShapeError(f"training shapes: all {len(points)} are the same, expected shapes that differ")
        # The sign of a mode is arbitrary: its largest component is made positive.
        axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
        count = _count_for_share(spectrum, variance) if modes is None else _checked_count(modes, len(spectrum))
        return cls(mean.reshape(-1, 2), axes[:count].reshape(count, -1, 2), spectrum, reference, dict(metadata or {}))

    @property
    def num_points(self):
        return len(self.mean)

    @property
    def eigenvalues(self):
        """(k,) variances of the kept modes, in squared units of the points."""
        return self.spectrum[: len(self.modes)]

    @property
    def shares(self):
        """(k,) share of the training variance that each kept mode explains."""
        return self.eigenvalues / self.spectrum.sum()

    @property
    def explained(self):
        """Share of the training variance that the kept modes explain together."""
        return float(self.shares.sum())

    @property
    def skeleton(self):
        """Polylines of point indices for drawing, from the metadata's ``"skeleton"`` (JSON text); () if absent."""
        if "skeleton" not in self.metadata:
            return ()
        try:
            lines = tuple(tuple(int(i) for i in line) for line in json.loads(self.metadata["skeleton"]))
        except (TypeError, ValueError) as error:
            raise ShapeError(f"shape model: the skeleton in its metadata is not JSON polylines ({error})") from error
        if any(not 0 <= i < self.num_points for line in lines for i in line):
            raise ShapeError(f"shape model: its skeleton names points beyond its {self.num_points}: fit it again")
        return lines

    def project(self, shapes):
        """Coefficients b (..., k) of shapes (..., N, 2), aligned first if the model aligns."""
        coefficients, _ = self._projected(shapes)
        return coefficients.astype(_floating(shapes), copy=False)

    def clip(self, coefficients, limit=3.0):
        """Clips b (..., k) to +-``limit`` standard deviations of each mode; ``limit`` may be ``inf``."""
        if not limit >= 0:
            raise ShapeError(f"limit: found {limit}, expected a number of standard deviations >= 0")
        bound = limit * np.sqrt(self.eigenvalues)
        clipped = np.clip(self._checked_coefficients(coefficients), -bound, bound)
        return clipped.astype(_floating(coefficients), copy=False)

    def reconstruct(self, coefficients):
        """Shapes (..., N, 2) of coefficients b (..., k), in the model's frame."""
        values = self._checked_coefficients(coefficients)
        flat = values @ self.modes.reshape(len(self.modes), -1)
        flat += self.mean.ravel()
        return flat.reshape(*values.shape[:-1], self.num_points, 2).astype(_floating(coefficients), copy=False)

    def soften(self, shapes, limit=3.0):
        """Soft shapes (..., N, 2): projected, clipped to +-``limit`` standard deviations, reconstructed.

        If the model aligns, this happens in its frame, and the result is mapped back to where each shape was.
        """
        coefficients, pose = self._projected(shapes)
        soft = self.reconstruct(self.clip(coefficients, limit))
        return (soft if pose is None else pose.apply(soft)).astype(_floating(shapes), copy=False)

    def complete(self, shapes):
        """Shapes (..., N, 2) whose unknown points, NaN, are where the model expects them beside the known ones.

        The known points stay. The expectation is that of a Gaussian whose variance is that of each kept mode, and the
        mean of the other modes' in all other directions: probabilistic PCA (Tipping and Bishop, JRSS B 61(3), 1999).

        Raises:
            ShapeError: the shapes are of another kind, or the model aligns and too few points are known to do so.
        """
        found = np.asarray(shapes)
        unknown = np.isnan(found).any(axis=-1)
        points = checked_points(np.where(unknown[..., None], 0, found), "shapes", self.num_points)
        for shape, missing in zip(
            points.reshape(-1, *self.mean.shape), unknown.reshape(-1, len(self.mean)), strict=True
        ):
            if missing.any():
                shape[missing] = self._expected(shape, ~missing)[missing]
        return points.astype(_floating(shapes), copy=False)

    def _expected(self, points, known):
        """The whole shape (N, 2) that the model expects, given the points where ``known`` (N,) is true."""
        pose = None if self.reference is None else fit_similarity(self.reference[known], points[known])
        points = points if pose is None else pose.inverse().apply(points)
        count, deviations = len(self.modes), np.sqrt(self.eigenvalues)
        noise = self.spectrum[count:].sum() / max(1, self.mean.size - count)
        # In standard deviations, so that without noise the least squares still choose the likeliest of many answers.
        seen = (self.modes * deviations[:, None, None])[:, known].reshape(count, -1).T
        away = np.append((points - self.mean)[known].ravel(), np.zeros(count))
        answer = np.linalg.lstsq(np.vstack([seen, np.sqrt(noise) * np.eye(count)]), away)[0]
        shape = self.reconstruct(deviations * answer)
        return shape if pose is None else pose.apply(shape)

    def save(self, path):
        """Writes an .npz (no pickle) that `load` reads."""
        arrays = {"mean": self.mean, "modes": self.modes, "spectrum": self.spectrum}
        if self.reference is not None:
            arrays["reference"] = self.reference
        header = {"format": np.array(FORMAT), "version": np.array(VERSION)}
        with open(path, "wb") as file:
            np.savez(file, **header, **arrays, metadata=np.array(json.dumps(self.metadata)), allow_pickle=False)

    @classmethod
    def load(cls, path):
        """Reads what `save` wrote, without unpickling anything.

        Raises:
            ShapeError: no such file, no shape model, or a damaged one.
        """
        path = Path(path)
        if not path.is_file():
            raise ShapeError(f"{path}: no such file, expected a shape model: make one with python -m asm fit")
        try:
            stored = _read_npz(path)
        except Exception as error:  # zipfile and its decompressors raise errors of many kinds
            raise ShapeError(f"{path}: not a readable .npz, so not a shape model ({error}): fit it again") from error
        if str(stored.get("format")) != FORMAT:
            raise ShapeError(f"{path}: not a shape model: make one with python -m asm fit")
        if str(stored.get("version")) != str(VERSION):
            raise ShapeError(f"{path}: version {stored.get('version')}, expected {VERSION}: fit it again")
        try:
            fields = {name: stored[name] for name in ("mean", "modes", "spectrum")}
            return cls(**fields, reference=stored.get("reference"), metadata=json.loads(str(stored["metadata"])))
        except (KeyError, ValueError, RecursionError) as error:
            raise ShapeError(f"{path}: damaged ({error}): fit it again") from error

    def _problem(self):
        """What is wrong with the arrays, or None."""
        arrays = [self.mean, self.modes, self.spectrum] + ([] if self.reference is None else [self.reference])
        if any(array.dtype.kind != "f" or not (np.abs(array) < LARGEST).all() for array in arrays):
            return f"its arrays must be finite floats below {LARGEST:g}"
        if self.mean.ndim != 2 or self.mean.shape[1:] != (2,):
            return f"found a mean of shape {self.mean.shape}, expected (N, 2)"
        if self.modes.ndim != 3 or self.modes.shape[1:] != self.mean.shape or not len(self.modes):
            return f"found modes of shape {self.modes.shape}, expected (k, {self.num_points}, 2)"
        if self.spectrum.ndim != 1 or len(self.spectrum) < len(self.modes) or (self.spectrum <= 0).any():
            return f"found {self.spectrum.shape} variances, expected at least {len(self.modes)} greater than 0"
        if self.reference is not None and self.reference.shape != self.mean.shape:
            return f"found a reference of shape {self.reference.shape}, expected {self.mean.shape}"
        flat = self.modes.reshape(len(self.modes), -1)
        if not np.allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-6):
            return "its modes are not orthonormal"
        texts = [*self.metadata, *self.metadata.values()] if isinstance(self.metadata, dict) else [None]
        if not all(isinstance(text, str) for text in texts):
            return "its metadata must be a dict of strings"
        return None

    def _checked_coefficients(self, coefficients):
        values = np.asarray(coefficients, dtype=np.float64)
        if values.ndim == 0 or values.shape[-1] != len(self.modes):
            raise ShapeError(f"coefficients: found shape {values.shape}, expected (..., {len(self.modes)}), one a mode")
        return values

    def _projected(self, shapes):
        """Coefficients (..., k) in float64, and poses: similarities from the reference to each shape, or None."""
        points, pose = checked_points(shapes, "shapes", self.num_points), None
        if self.reference is not None:
            # The inverse of a fit in this direction maps shapes into a plane, the tangent space at the reference. All
            # shapes that the model makes lie in it too, so softening a soft shape changes nothing.
            pose = fit_similarity(self.reference, points)
            points = pose.inverse().apply(points)
        modes = self.modes.reshape(len(self.modes), -1)
        return points.reshape(*points.shape[:-2], self.mean.size) @ modes.T - modes @ self.mean.ravel(), pose


def _read_npz(path):
    """The arrays of an .npz, name -> array. Its size is checked first: a small file can unpack to gigabytes."""
    # numpy warns of headers that it did not write.
    with warnings.catch_warnings(action="error"), zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > _MOST_BYTES:
            raise ValueError(f"holds {size / 1e6:.0f} MB unpacked, expected {_MOST_BYTES / 1e6:.0f} MB at most")
        arrays = {}
        for name in archive.namelist():
            with archive.open(name) as member:
                arrays[name.removesuffix(".npy")] = np.lib.format.read_array(member, allow_pickle=False)
        return arrays


def _principal_axes(centred):
    """Variances (r,), descending, and axes (r, d), a row each, of rows (n, d) whose mean is 0."""
    values, axes = np.linalg.eigh(centred.T @ centred)
    if values[0] > _LOW * values[-1]:
        return values[::-1] / (len(centred) - 1), axes.T[::-1].copy()
    # The triangle of a QR decomposition has the singular values and axes of all rows, and few rows itself.
    _, deviations, axes = np.linalg.svd(np.linalg.qr(centred, mode="r"), full_matrices=False)
    return deviations**2 / (len(centred) - 1), axes


def _count_for_share(spectrum, variance):
    if not 0 < variance <= 1:
        raise ShapeError(f"variance: found {variance}, expected a share in (0, 1], for example 0.90")
    reached = np.cumsum(spectrum) / spectrum.sum() >= variance - 1e-12
    return int(np.argmax(reached)) + 1


def _checked_count(modes, available):
    if int(modes) != modes or not 1 <= modes <= available:
        raise ShapeError(f"modes: found {modes}, expected a whole number from 1 to {available}, as many as there are")
    return int(modes)


def _floating(values):
    """The floating type of results: that of the values, or float64 for whole numbers."""
    dtype = np.asarray(values).dtype
    return dtype if dtype.kind == "f" else np.float64
