"""Content to push: blobs, descriptors and manifests in one call each, as the package offers them to all."""

from oci_registry_testing.manifests import DOCKER_IMAGE as DOCKER_IMAGE
from oci_registry_testing.manifests import DOCKER_INDEX as DOCKER_INDEX
from oci_registry_testing.manifests import EMPTY_JSON as EMPTY_JSON
from oci_registry_testing.manifests import OCI_ARTIFACT as OCI_ARTIFACT
from oci_registry_testing.manifests import OCI_CONFIG as OCI_CONFIG
from oci_registry_testing.manifests import OCI_IMAGE as OCI_IMAGE
from oci_registry_testing.manifests import OCI_INDEX as OCI_INDEX
from oci_registry_testing.manifests import OCI_LAYER as OCI_LAYER
from oci_registry_testing.manifests import JsonObject as JsonObject
from oci_registry_testing.manifests import blob as blob
from oci_registry_testing.manifests import descriptor as descriptor
from oci_registry_testing.manifests import image as image
from oci_registry_testing.manifests import index as index
