from .boxes import COLOURS, draw_box, show_image
from .fonts import fonts_for

__all__ = ["COLOURS", "draw_box", "fonts_for", "show_image"]
