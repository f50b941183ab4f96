from .boxes import COLOURS, draw_box, show_image

__all__ = ["COLOURS", "draw_box", "show_image"]
