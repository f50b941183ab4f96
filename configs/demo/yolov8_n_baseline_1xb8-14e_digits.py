# The same with the stock loss and without penalty, to compare with.
_base_ = "./yolov8_n_area-aware_bg-max_1xb8-14e_digits.py"

model = dict(bbox_head=dict(loss_cls=dict(area_weight=None), loss_bg=None))
custom_hooks = [
    hook for hook in _base_.custom_hooks if hook.type != "LossParamSchedulerHook"
]
