"""The methods by name. A new method is one function and one line here."""

from hemojax.cam import activation, eigen, gradient, perturbation, random
from hemojax.cam.method import Method

METHODS: dict[str, Method] = {
    "gradcam": Method(frozenset({"gradients"}), gradient.gradcam),
    "hirescam": Method(frozenset({"gradients"}), gradient.hirescam),
    "gradcam_elementwise": Method(frozenset({"gradients"}), gradient.gradcam_elementwise),
    "gradcam++": Method(frozenset({"gradients"}), gradient.gradcam_plus_plus),
    "xgradcam": Method(frozenset({"gradients"}), gradient.xgradcam),
    "layercam": Method(frozenset({"gradients"}), gradient.layercam),
    "shapleycam": Method(frozenset({"gradients", "curvature"}), gradient.shapleycam),
    "eigencam": Method(frozenset(), eigen.eigencam),
    "eigengradcam": Method(frozenset({"gradients"}), eigen.eigengradcam),
    "segeigencam": Method(frozenset({"gradients"}), eigen.segeigencam),
    "kpcacam": Method(frozenset(), eigen.kpcacam),
    "fem": Method(frozenset(), activation.fem),
    "ablationcam": Method(frozenset({"score", "ablated_scores"}), perturbation.ablationcam),
    "ablationcam_pgc": Method(frozenset({"score", "pgc_ablated_scores"}), perturbation.ablationcam_pgc),
    "scorecam": Method(frozenset({"masked_scores"}), perturbation.scorecam),
    "randomcam": Method(frozenset({"key"}), random.randomcam),
}
