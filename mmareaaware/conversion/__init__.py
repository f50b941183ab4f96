"""What other projects write, for use here, and ONNX; the commands are in ``tools``.

- ``ultralytics_weights``: names of Ultralytics' weights for ours, and back.
- ``p2_level``: a level of stride 4 for weights of three levels; ``p2_layers``, the
  first values of its layers.
- ``torch_file``: weights from a file of ``torch.save``, of which no code is run. It
  stands on ``torch_archive``, the zip file, and ``inert_pickle``, the pickle in it.
- ``yolo_labels``: data sets in Ultralytics' layout to COCO's.
- ``visdrone``: VisDrone2019-DET's annotations to COCO's.
- ``teacher``: the teacher of a semi-supervised checkpoint for a plain detector.
- ``onnx_export``: ours to ONNX.
"""
