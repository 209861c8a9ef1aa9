"""Active shape models of landmarks: Procrustes alignment, PCA, the clip to plausible shapes, and pictures of the modes.

As a library it stands alone and needs only numpy and, for `asm.plots`, matplotlib.
"""

from asm.procrustes import Alignment as Alignment
from asm.procrustes import ShapeError as ShapeError
from asm.procrustes import Similarity as Similarity
from asm.procrustes import fit_similarity as fit_similarity
from asm.procrustes import generalised_procrustes as generalised_procrustes
from asm.shape_model import ShapeModel as ShapeModel
