"""What `mmcv-lite` lacks: the operators of `mmcv._ext`, in torch."""
