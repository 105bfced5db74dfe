"""Configuration of the recurrent image captioners: Vinyals et al. 2015, Xu et al. 2015."""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .configuration_rnn_decoder import RnnDecoderConfig


@strict
class RnnImageCaptionerConfig(RnnDecoderConfig):
    r"""Configuration of a captioner. Sizes are numbers of units, dropouts are probabilities.

    The image encoder is a small convolutional network (`encoder_channels`, `encoder_stride`), or the backbone that
    `backbone` names or `backbone_config` describes.

    Args:
        image_size: height and width of images in pixels, or one number for both; by default the backbone's, else 64.
        num_channels: 3 for colour, 1 for greyscale; by default the backbone's, else 3.
        encoder_channels: features of each layer of the convolutional encoder.
        encoder_stride: height and width in pixels of one position of its grid: a power of two.
        backbone: a vision model of transformers, as a Hub id or a folder; "timm/NAME" is a timm model.
        use_pretrained_backbone: initialise a new model with the backbone's pre-trained weights instead of random ones.
            A saved model loads its own weights.
        backbone_config: configuration of the backbone; filled in from `backbone` if that is set.
        freeze_backbone: do not train the backbone.
        attention: `none`: the image is only the decoder's initial state; `bahdanau`: the decoder also attends to the
            grid with its previous state, before each step (the soft attention of Xu et al. 2015, section 4.2);
            `luong`: with its current state, after each step.
        attention_score: score of `luong`; `dot` needs `hidden_size` features per grid position.
        doubly_stochastic_weight: weight, in training, of the penalty for attention to a grid position that does not
            sum to 1 over the caption: the lambda of Xu et al. 2015, equation 14.
        encoder_dropout: dropout on the grid features.
    """

    model_type = "rnn_image_captioner"
    attribute_map: ClassVar[dict[str, str]] = {"num_hidden_layers": "num_decoder_layers"}
    sizes = (*RnnDecoderConfig.sizes, "num_channels")
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="resnet", optional=True)
    }
    auto_classes: ClassVar[dict[str, str]] = {
        "AutoConfig": "configuration_rnn_image_captioner.RnnImageCaptionerConfig",
        "AutoModel": "modeling_rnn_image_captioner.RnnImageCaptionerModel",
        "AutoModelForImageTextToText": "modeling_rnn_image_captioner.RnnImageCaptionerForConditionalGeneration",
    }

    image_size: int | list[int] | tuple[int, int] | None = None
    num_channels: int | None = None
    encoder_channels: list[int] | tuple[int, ...] = (32, 64, 128)
    encoder_stride: int = 8
    backbone: str | None = None
    use_pretrained_backbone: bool = False
    backbone_config: dict | PreTrainedConfig | None = None
    freeze_backbone: bool = False
    attention: Literal["none", "bahdanau", "luong"] = "bahdanau"
    doubly_stochastic_weight: float | int = 0.0
    encoder_dropout: float | int = 0.0

    def __post_init__(self, **kwargs: Any) -> None:
        if self.backbone is not None and self.backbone_config is None:
            self.backbone_config = backbone_config(self.backbone)
        super().__post_init__(**kwargs)  # a dictionary becomes a configuration here
        own = self.backbone_config
        if self.image_size is None:
            self.image_size = getattr(own, "image_size", None) or 64
        if self.num_channels is None:
            self.num_channels = getattr(own, "num_channels", None) or 3

    @property
    def image_height_and_width(self) -> tuple[int, int]:
        """Height and width of images in pixels."""
        size = self.image_size
        assert size is not None  # set in `__post_init__`
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    def validate_sizes(self) -> None:
        super().validate_sizes()
        size = self.image_size
        if size is not None and (
            min(self.image_height_and_width) < 1 or (not isinstance(size, int) and len(size) != 2)
        ):
            raise ValueError(f"image_size must be a height and a width of at least 1 pixel, got {size}.")
        if not self.encoder_channels or min(self.encoder_channels) < 1:
            raise ValueError(
                f"encoder_channels must be one or more numbers of at least 1, got {list(self.encoder_channels)}."
            )
        strides = [2**halvings for halvings in range(len(self.encoder_channels) + 1)]
        if self.encoder_stride not in strides:
            raise ValueError(
                f"encoder_stride must be one of {', '.join(map(str, strides))}, because each layer in encoder_channels "
                f"can halve the grid once; got {self.encoder_stride}."
            )

    def validate_combinations(self) -> None:
        if self.doubly_stochastic_weight < 0 or (self.doubly_stochastic_weight and self.attention == "none"):
            raise ValueError(
                "doubly_stochastic_weight must be 0 or more, and 0 with attention='none'; got "
                f"{self.doubly_stochastic_weight}."
            )
        if self.use_pretrained_backbone and self.backbone is None:
            raise ValueError("use_pretrained_backbone=True needs a backbone name: set backbone='...'.")
        if self.freeze_backbone and self.backbone is None and self.backbone_config is None:
            raise ValueError("freeze_backbone=True needs a backbone: an encoder from scratch must be trained.")


def backbone_config(name: str) -> PreTrainedConfig:
    """The configuration of a vision model: a Hub id, a folder, or "timm/NAME" for a timm model."""
    if name.startswith("timm/"):
        return CONFIG_MAPPING["timm_backbone"](backbone=name.removeprefix("timm/"))
    return AutoConfig.from_pretrained(name, trust_remote_code=False)
