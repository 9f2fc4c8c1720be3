"""The methods by name. A new method is one function and one line here."""

from hemojax.cam import activation, eigen, gradient, perturbation, random
from hemojax.cam.inputs import NEEDS
from hemojax.cam.method import Method, additive

METHODS: dict[str, Method] = {
    "cam": additive(gradient.cam, "gradients", linear=True),
    "gradcam": additive(gradient.gradcam, "gradients"),
    "hirescam": additive(gradient.hirescam, "gradients"),
    "gradcam_elementwise": additive(gradient.gradcam_elementwise, "gradients"),
    "gradcam++": additive(gradient.gradcam_plus_plus, "gradients"),
    "smoothgradcam++": additive(gradient.smoothgradcam_plus_plus, "noisy_gradients"),
    "xgradcam": additive(gradient.xgradcam, "gradients"),
    "layercam": additive(gradient.layercam, "gradients"),
    "bagcams": additive(gradient.bagcams, "gradients", "score"),
    "shapleycam": additive(gradient.shapleycam, "gradients", "curvature"),
    "eigencam": Method(frozenset(), eigen.eigencam),
    "eigengradcam": Method(frozenset({"gradients"}), eigen.eigengradcam),
    "segeigencam": Method(frozenset({"gradients"}), eigen.segeigencam),
    "kpcacam": Method(frozenset(), eigen.kpcacam),
    "fem": additive(activation.fem),
    "ablationcam": additive(perturbation.ablationcam, "score", "ablated_scores"),
    "ablationcam_pgc": additive(perturbation.ablationcam_pgc, "score", "pgc_ablated_scores"),
    "reciprocam": Method(frozenset({"position_scores"}), perturbation.reciprocam),
    "scorecam": additive(perturbation.scorecam, "masked_scores"),
    "cfdcam": additive(perturbation.cfdcam, "masked_scores"),
    "sscam": additive(perturbation.sscam, "noisy_masked_scores"),
    "iscam": additive(perturbation.iscam, "integrated_masked_scores"),
    "groupcam": additive(perturbation.groupcam, "gradients", "groups", "group_gains"),
    "opticam": additive(perturbation.opticam, "optimised_weights"),
    "randomcam": additive(random.randomcam, "key"),
}


def costly(name: str) -> bool:
    """Whether the method runs the network many times an image."""
    return any(NEEDS[need].costly for need in METHODS[name].needs)


def draws_masks(name: str) -> bool:
    """Whether the method masks images."""
    return any(NEEDS[need].masks for need in METHODS[name].needs)
