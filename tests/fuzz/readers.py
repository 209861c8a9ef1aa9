"""All readers that are fuzzed."""

from tests.fuzz.annotation_readers import ANNOTATION_READERS
from tests.fuzz.model_readers import MODEL_READERS
from tests.fuzz.prepared_readers import PREPARED_READERS

READERS = (*ANNOTATION_READERS, *PREPARED_READERS, *MODEL_READERS)
