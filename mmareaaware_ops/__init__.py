"""The compiled operators of mmcv, in torch, where an installation has none.

``mmcv-lite`` holds all the Python of ``mmcv.ops`` and lacks the module ``mmcv._ext``
that it calls. :func:`install` lets an import of that name find
:mod:`mmareaaware_ops.ext` when nothing else does: a compiled mmcv is left alone. The
``.pth`` file of this wheel calls it whenever Python starts, so that the tools of mmdet
and mmyolo need no word of ours; it costs them this file, which imports nothing.
"""

import sys


class ExtensionFinder:
    """Finds ``mmcv._ext``, and no other module."""

    @staticmethod
    def find_spec(name: str, path=None, target=None):
        """The specification of the module that stands in, or None."""
        if name != "mmcv._ext":
            return None
        from importlib.util import spec_from_file_location
        from os.path import dirname, join

        return spec_from_file_location(name, join(dirname(__file__), "ext.py"))


def install() -> None:
    """Put the finder behind all others, once: whatever they find wins."""
    if ExtensionFinder not in sys.meta_path:
        sys.meta_path.append(ExtensionFinder)
