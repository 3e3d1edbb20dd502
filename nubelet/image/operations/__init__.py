"""Operations of the image service."""

from nubelet.image.operations.delete_image_data import DELETE_COPY, DELETE_IMAGE_DATA
from nubelet.image.operations.import_image import IMPORT_IMAGE
from nubelet.image.operations.import_location import IMPORT_LOCATION

__all__ = ["DELETE_COPY", "DELETE_IMAGE_DATA", "IMPORT_IMAGE", "IMPORT_LOCATION"]
