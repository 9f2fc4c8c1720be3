"""The defaults that every run shares.

A config file takes them and changes what is its own; each option can be set on the command line too:
`--config.model.name=resnet50`.
"""

import itertools

from ml_collections import ConfigDict

from hemojax.data.labels import BHSD_SUBTYPES

ANY_SUBTYPE = tuple(itertools.chain.from_iterable(BHSD_SUBTYPES.values()))


def defaults() -> ConfigDict:
    """All options and what they are where nobody says."""
    config = ConfigDict()
    config.name = "base"  # the run's name in the tables, and its folder under runs/
    config.task = "bench"  # inspect | bench | train | explain | report | export | speed
    config.seed = 0
    config.seeds = ()  # of bench and report: as many trainings, in folders of their own, and a report over all of them

    data = config.data = ConfigDict()
    # generic | hemorica | dicom | bhsd | physionet | instance | seg_cq500 | rsna | phantom | auto: by what lies there
    data.layout = "generic"
    data.root = ""  # folder of the data set; a phantom is generated there (default: in the workdir)
    data.on_error = "stop"  # at a scan that cannot be read | skip: leave it out, and say so in the report
    # Cases and patients under keyed digests, in everything that is written; <workdir>/private has the table of names.
    data.hash_names = False
    data.labels = ("any",)  # a logit each: any, or EPH, SDH, SAH, IPH, IVH
    data.masks = ConfigDict({"haemorrhage": ANY_SUBTYPE})  # what CAMs are scored against: name -> mask integers
    data.subtypes = ConfigDict(BHSD_SUBTYPES)  # the mask integers of each
    data.fractions = ConfigDict({"train": 0.6, "validation": 0.15, "test": 0.25})  # patients without a given split
    # What a scan's values are: hu | windowed (HU, of which all beyond a window was set to its ends) | offset1024 (HU
    # and a number added) | grey:CENTRE:WIDTH (a window's grey values from 0 to 1 or from 0 to 255). A scan that cannot
    # be that is refused. For `explain`: of the new scans.
    data.intensity = "hu"
    # The order of arrays whose files do not say it: towards which side of the body the index of each axis grows, as
    # nibabel's codes. "": the layout's own, PLS in Hemorica (slices as they are shown), LAS in NIfTI without forms.
    data.axes = ""
    data.resample_masks = False  # a mask on another grid than its scan's: take the nearest voxels, do not refuse it
    # What counts where table and masks contradict each other in most scans: refuse (neither) | table | mask.
    data.contradictions = "refuse"
    # A CSV table: case, patient, and split if known (default: each scan is a patient's, or as the layout says).
    data.patients = ""
    data.patient_pattern = ""  # a regular expression: what it, or its group, finds in a scan's name is the patient
    data.stratify = ("any",)  # labels of which every split has its share of patients: any, EPH, SDH, SAH, IPH, IVH
    data.split_seed = 0  # 0: patients are dealt in the order of their names; or the seed by which they are drawn
    data.folds = 0  # deal patients into as many folds, at least 3, instead of fractions; 0: do not
    # The fold that is the test split; the next one is the validation split. -1, of bench and report: a training for
    # each fold, in folders of their own, and a report over all of them.
    data.fold = 0
    data.size = 192  # side of the network's input, in pixels
    data.windows = ((40.0, 80.0),)  # centre and width of each channel, in HU
    # Beside each window its mirror image about the head's midline, and by how much the slice is brighter.
    data.mirror_channels = False
    data.per_slice_minmax = False  # stretch each windowed slice to its own minimum and maximum
    # imagenet | air_zero (no mean: air is 0, as is the padding of convolutions) | tensorflow (for Lite0's weights)
    data.normalisation = "imagenet"
    # Of a GPU's or TPU's memory: slices that fit stay there, others are read when they are needed.
    data.device_share = 0.3
    data.augmentation = ConfigDict(
        {"flip_i": 0.5, "flip_j": 0.5, "affine": 0.5, "shift": 0.05, "scale": 0.1, "rotate": 15.0}
    )
    data.phantom = ConfigDict({"cases": 60, "size": 128, "slices": 14, "seed": 0})

    model = config.model = ConfigDict()
    model.name = "resnet18"  # a key of hemojax.models.MODELS
    model.weights = ""  # PyTorch weights to start from: a .pth, .pt or .safetensors file, or "imagenet"
    # A stage with a head of its own: stage2 of ResNets, stage3/expand of EfficientNets (24 x 24 at 192 px); "": none
    model.local_stage = ""
    model.local_pooling = "lse"  # of what that head finds at each position: lse (log-mean-exp) | topk
    model.dtype = "float32"  # of the computation: bfloat16 on a GPU or TPU

    train = config.train = ConfigDict()
    train.epochs = 20
    train.batch = 16  # over all devices of all hosts
    train.optimizer = "adamw"  # adamw (warm-up, then cosine) | adam (constant rate)
    train.learning_rate = 1e-3
    train.warmup = 0.3  # share of the steps
    train.weight_decay = 1e-2
    train.log_steps = 50  # steps after which figures are fetched from the device and written
    train.head_scale = 1.0  # of the classifier's first weights, in units of 1 / sqrt(features)
    # uniform | position: as often as it takes for a slice's height in the scan to say nothing of the (first) label
    train.sampling = "uniform"
    # Copies, as a share of the batch, in which the place of the network's own map is filled, and which are to be
    # negative; in every second one another slice's place is filled, and the label stays. 0: none
    train.erasing = 0.0
    train.erasing_stage = ""  # whose map: stage2 of ResNets, stage3 of EfficientNets
    train.pretrain = ""  # phantom: first on data.phantom, for as many epochs as here, then on the data set
    train.pretrain_epochs = 12
    train.positive_weight = 1.0  # weight of a positive label in the loss; 0 balances the training labels

    cam = config.cam = ConfigDict()
    cam.methods = (
        "gradcam",
        "hirescam",
        "gradcam_elementwise",
        "gradcam++",
        "xgradcam",
        "layercam",
        "eigencam",
        "eigengradcam",
        "ablationcam",
        "scorecam",
        "randomcam",
    )
    cam.stages = ("stage1", "stage2", "stage3", "stage4")  # and inner taps of EfficientNets: stage2/expand
    cam.registration = True  # draw maps where the network's cells look, see hemojax.cam.registration
    # Maps are means over copies of the slice mirrored along these axes ("i": rows, "j": columns). The network has to be
    # trained on such copies (data.augmentation). Two axes take four times as long.
    cam.mirrored = ()
    cam.target = "ground_truth"  # ground_truth | predicted | a label of data.labels
    cam.random_seeds = 10
    cam.batch = 0  # slices at once; 0: what the devices' memory allows, 16 on a CPU
    cam.chunk = 0  # ablated or masked inputs at once and device; 0: what its memory allows, 64 on a CPU
    # Costly methods on fewer slices of each split and fewer stages: 0 slices means all, no stage means all.
    cam.scorecam = ConfigDict({"slices": 16, "stages": ("stage2",)})
    cam.ablationcam = ConfigDict({"slices": 0, "stages": ()})
    cam.ablationcam_pgc = ConfigDict({"slices": 0, "stages": ()})  # as pytorch-grad-cam computes it; not in methods
    for name in ("reciprocam", "cfdcam", "sscam", "iscam", "groupcam", "opticam"):  # not in methods
        cam[name] = ConfigDict({"slices": 16, "stages": ()})

    evaluation = config.eval = ConfigDict()
    evaluation.batch = 32
    evaluation.size = 192  # side of the grid on which pixels are counted
    evaluation.refine = ("pamr",)  # refinements of every map, each a row of its own (hemojax.cam.refinement); (): none
    evaluation.fuse = 0  # of how many maps at most one is fused, chosen one by one on validation; 0: none is
    evaluation.student = 0  # rounds in which a small decoder learns the best map (hemojax.benchmark.student); 0: none
    evaluation.gallery = 3  # slices of each kind (typical, best, worst) in the gallery
    evaluation.protocol = "hemojax"  # or hemorica_paper: t = 0.5, on TP + FP + FN slices
    evaluation.sanity = ConfigDict({"slices": 16})  # of which maps of a randomised network are made; 0: none
    faithfulness = evaluation.faithfulness = ConfigDict()
    # Test slices on which each method's faithfulness is measured, as many as costly methods explain; 0: it is not.
    faithfulness.slices = 16
    faithfulness.steps = 16  # of the insertion and deletion curves
    faithfulness.blur = 10.0  # where insertion begins: standard deviation of the Gaussian, in pixels of the input

    explain = config.explain = ConfigDict()
    explain.scans = ""  # a folder of .nii.gz files, or one file; or a folder of DICOM, as a hospital exports it
    explain.every_series = False  # of DICOM: every axial series, not one of each study (docs/dicom.md says which)
    explain.dicom_identity = False  # whether the DICOM objects that are written name the patient as the scan's files do
    explain.mask = ""  # whose choice on validation to use: a name of data.masks (default: the first that is drawn)
    explain.method = ""  # default: the one chosen on validation, and so its stage and threshold
    explain.stage = ""
    explain.threshold = -1.0

    speed = config.speed = ConfigDict()
    speed.what = "networks"  # networks | layers | forms | cams | metrics | input
    speed.networks = ("resnet18", "resnet50", "efficientnet_v2_s")
    speed.workloads = ("forward", "gradients", "training")  # of networks; gradients: of every stage
    speed.requests = ()  # of cams: names in the table (default: all)
    speed.batch = 32
    speed.size = 224
    speed.cam_batch = 16  # of cams: images at once, where no peer needs minutes for one
    speed.dtypes = ("float32",)  # and bfloat16, beside which PyTorch has its autocast
    speed.rounds = 7
    speed.slices = 20  # of metrics, 66 maps each
    speed.map_size = 512  # of metrics
    return config
