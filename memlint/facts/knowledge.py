"""What memlint knows of torch and its neighbours, as data.

Names here are those of public libraries' interfaces. A user's own names decide nothing.
"""

from __future__ import annotations


def names(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


# -- tensors ---------------------------------------------------------------------------------------------------------

# Attributes and methods of a tensor that say something about it and carry neither its data nor its graph.
METADATA = names(
    "shape size dim ndim ndimension device dtype numel nelement is_cuda is_leaf requires_grad grad_fn stride storage "
    "data_ptr element_size is_contiguous is_floating_point is_complex type_as_name layout names output_nr is_sparse "
    "nbytes itemsize is_mps is_pinned is_meta get_device storage_offset"
)
# Methods whose result carries no graph, and so end what the graph is needed for.
DETACHING = names(
    "detach detach_ item tolist numpy argmax argmin argsort long int bool byte eq ne lt le gt ge nonzero "
    "isnan isinf isfinite any all sign_bit equal allclose char short multinomial bincount unique histc"
)
# Those of DETACHING that nobody writes on a value without a graph.
ENDS_A_GRAPH = names("detach detach_")
# Those of DETACHING that leave torch: the value is a plain number, list or array on the host afterwards.
TO_HOST = names("item tolist numpy")
DETACHING_FUNCTIONS = names(
    "argmax argmin argsort multinomial bincount isnan isinf isfinite eq ne lt le gt ge equal allclose any all nonzero "
    "zeros_like ones_like empty_like rand_like randn_like randint_like full_like histc unique bernoulli "
    "is_tensor numel one_hot broadcast_shapes no_grad"
)
# Methods that only a tensor has: their receiver is one, whatever else is known.
TENSOR_METHODS = names(
    "detach detach_ backward unsqueeze unsqueeze_ requires_grad_ retain_grad permute contiguous squeeze_ index_select "
    "masked_fill masked_fill_ scatter_ scatter gather argmax argmin log_softmax softmax sigmoid tanh relu clamp clamp_ "
    "expand expand_as view view_as flatten chunk unbind narrow type_as new_zeros new_ones new_tensor new_full "
    "new_empty cpu cuda pin_memory share_memory_ half bfloat16 bmm matmul mm addmm logsumexp norm item tolist"
)
# Methods of a tensor that give a tensor without dimensions when called without arguments.
REDUCING = names("sum mean max min norm prod std var median any all logsumexp nansum nanmean")
# Of a tensor without dimensions they make another one.
POINTWISE = names(
    "pow square sqrt rsqrt exp log log2 log10 log1p expm1 abs neg reciprocal sigmoid tanh relu clamp nan_to_num clone "
    "contiguous float double half bfloat16 add sub mul div"
)
# Results that share the storage of what they were taken from.
VIEWS = names("view reshape narrow select squeeze unsqueeze transpose permute t expand chunk split unbind flatten")
# Methods that hand a tensor on as it is, or say something about it: no computation on its device.
RESHAPING = METADATA | VIEWS | names("detach cpu to numpy tolist clone contiguous float double half long int cuda")

# Functions below `torch` that create a tensor from nothing: no graph.
CREATORS = names(
    "zeros ones empty full arange linspace logspace eye rand randn randint randperm tensor as_tensor from_numpy "
    "zeros_like ones_like empty_like full_like rand_like randn_like randint_like tril_indices triu_indices "
    "FloatTensor LongTensor Tensor IntTensor BoolTensor ByteTensor DoubleTensor HalfTensor frombuffer"
)
# Those that know no other device than the CPU.
CREATORS_ON_CPU = names("FloatTensor LongTensor IntTensor BoolTensor ByteTensor DoubleTensor HalfTensor from_numpy")
RANDOM = names("multinomial bernoulli normal poisson dropout rrelu alpha_dropout feature_dropout binomial cauchy")
WHOLE = names("randint randperm LongTensor IntTensor arange")
LOSSES = names(
    "cross_entropy nll_loss mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy kl_div "
    "binary_cross_entropy_with_logits cosine_embedding_loss margin_ranking_loss triplet_margin_loss ctc_loss "
    "hinge_embedding_loss multi_margin_loss poisson_nll_loss gaussian_nll_loss soft_margin_loss"
)
GATHERING = names("cat stack concat concatenate hstack vstack dstack row_stack pad_sequence")
# Ranges: the result cannot leave an interval, whatever went in.
LIMITING = names(
    "clamp clamp_ clip clip_ tanh sigmoid remainder fmod sin cos softmax where minimum maximum frac hardtanh "
    "hardsigmoid relu6 softsign arctan atan clamp_min clamp_max clamp_min_ clamp_max_ remainder_ fmod_ mod "
    "round_to_lattice clamp_step reflect"
)

# Helpers of memlint's own runtime, which may be vendored under any module's name: they detach what they are given.
HELPERS = names("to_cpu detach")
# `append_bounded(history, item, limit=N)`: an append to a list that is trimmed by the same call.
BOUNDED_APPEND = "append_bounded"

# -- modules ---------------------------------------------------------------------------------------------------------

# Bases that make a class a module. Classes that derive from these by way of the project are found by linking.
MODULE_BASES = names(
    "torch.nn.Module torch.nn.Sequential torch.nn.ModuleList torch.nn.ModuleDict torch.nn.DataParallel "
    "torch.nn.parallel.DistributedDataParallel torch.jit.ScriptModule "
    "pytorch_lightning.LightningModule lightning.LightningModule lightning.pytorch.LightningModule "
    "pytorch_lightning.core.LightningModule pytorch_lightning.core.lightning.LightningModule "
    "transformers.PreTrainedModel transformers.modeling_utils.PreTrainedModel "
    "torch_geometric.nn.MessagePassing fairseq.models.BaseFairseqModel mmengine.model.BaseModule "
    "mmcv.runner.BaseModule gpytorch.Module gpytorch.models.ExactGP pyro.nn.PyroModule timm.models.VisionTransformer"
)
# A call of something below these paths builds a module.
MODULE_FACTORIES = (
    "torch.nn.", "torchvision.models.", "timm.create_model", "timm.models.create_model", "torch.hub.load",
    "torch.jit.load", "torch.jit.script", "torch.compile", "segmentation_models_pytorch.", "torch_geometric.nn.",
    "copy.deepcopy.module",
)  # fmt: skip
# Classes of torch.nn without parameters: their call builds a graph only when their input carries one.
WITHOUT_PARAMETERS = (
    "Softmax", "LogSoftmax", "ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Sigmoid", "Tanh", "Dropout", "Identity",
    "Flatten", "Unflatten", "MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool", "Upsample", "PixelShuffle",
    "ZeroPad", "ReflectionPad", "ReplicationPad", "ConstantPad", "CosineSimilarity", "PairwiseDistance", "Fold",
    "Unfold", "Hardtanh", "Softplus", "Softsign", "Threshold", "Hardswish", "LogSigmoid", "MaxUnpool", "CircularPad",
)  # fmt: skip
# Those of torch_geometric.nn that only pass labels along edges.
PROPAGATING = names("LabelPropagation CorrectAndSmooth")
MODULE_LOADERS = names("from_pretrained")
MODULE_LOADER_PACKAGES = ("transformers.", "diffusers.", "peft.", "sentence_transformers.")
# Classes of those packages whose `from_pretrained` gives no module.
NOT_MODULES = ("Tokenizer", "Config", "Processor", "FeatureExtractor", "Scheduler")
# Submodules of torch.nn that hold functions, not classes.
NOT_MODULE_PATHS = (
    "torch.nn.functional.", "torch.nn.init.", "torch.nn.utils.", "torch.nn.Parameter", "torch.nn.parameter.",
)  # fmt: skip
# Methods that only a module (or something that wraps one) has, called with no positional argument or a flag.
MODULE_METHODS = names(
    "parameters named_parameters named_modules named_buffers named_children register_forward_hook "
    "register_full_backward_hook register_forward_pre_hook register_buffer add_module requires_grad_"
)
# Methods of a module that hand back something else than an output.
MODULE_PLAIN_METHODS = names(
    "parameters named_parameters named_modules named_buffers named_children modules children buffers state_dict "
    "load_state_dict zero_grad register_buffer register_parameter register_forward_hook add_module get_submodule "
    "get_parameter extra_repr apply save_pretrained register_full_backward_hook register_forward_pre_hook "
    "get_input_embeddings get_output_embeddings resize_token_embeddings num_parameters gradient_checkpointing_enable "
    "train_step training_step compile save print_trainable_parameters no_sync set_epoch reset_parameters init_weights "
    "summary log log_dict print step"
)
MODULE_SELF_METHODS = names("to cuda cpu eval train half float double bfloat16 requires_grad_ share_memory module")

# Fields of the outputs of transformers' and diffusers' modules: who has one came from a forward pass.
OUTPUT_ATTRIBUTES = names(
    "logits past_key_values last_hidden_state hidden_states pooler_output start_logits end_logits image_embeds "
    "text_embeds prediction_logits encoder_last_hidden_state"
)

OPTIMIZER_PATHS = ("torch.optim.", "transformers.AdamW", "transformers.optimization.", "apex.optimizers.")
NOT_OPTIMIZER_PATHS = ("torch.optim.lr_scheduler.", "torch.optim.swa_utils.")
LOADER_PATHS = names(
    "torch.utils.data.DataLoader torch.utils.data.dataloader.DataLoader torch_geometric.loader.DataLoader "
    "torch_geometric.data.DataLoader torchtext.data.BucketIterator"
)
# Wrappers that hand the items of what they are given through, one at a time.
THROUGH = names("enumerate tqdm trange iter islice cycle track progress_bar notebook_tqdm")

# -- grad mode -------------------------------------------------------------------------------------------------------

GRAD_OFF = names(
    "torch.no_grad torch.inference_mode torch.autograd.no_grad torch.autograd.grad_mode.no_grad "
    "torch.autograd.grad_mode.inference_mode torch.autograd.inference_mode"
)
GRAD_ON = names("torch.enable_grad torch.autograd.enable_grad")
GRAD_SET = names("torch.set_grad_enabled torch.autograd.set_grad_enabled torch._C._set_grad_enabled")
# Decorators that leave the grad mode alone.
NEUTRAL_DECORATORS = names(
    "property staticmethod classmethod abc.abstractmethod functools.wraps functools.lru_cache functools.cache "
    "functools.cached_property typing.override typing.overload typing.final contextlib.contextmanager "
    "torch.jit.export torch.jit.ignore torch.jit.unused torch.jit.script_method torch.compile dataclasses.dataclass "
    "typing_extensions.override abc.abstractproperty functools.singledispatchmethod"
)

# How the paths of frameworks begin that have modules of their own.
OTHER_FRAMEWORKS = (
    "mlx.", "jax", "flax", "haiku", "equinox", "tensorflow", "keras", "paddle", "mindspore", "mxnet", "tinygrad",
    "chainer",
)  # fmt: skip
NEUTRAL_PACKAGES = (
    "typing.", "functools.", "abc.", "dataclasses.", "pytest.", "click.", "hydra.", "numba.", "torch.jit.",
    "contextlib.", "typing_extensions.", "typer.", "unittest.", "torch.library.",
)  # fmt: skip

# Context managers that are held, not entered for what they switch.
LOCKS = ("threading.", "multiprocessing.", "asyncio.", "queue.", "concurrent.", "filelock.", "tempfile.")

# Calls that need a graph. The first names are methods whoever has them; the others dotted paths.
TRAINING_METHODS = names(
    "backward manual_backward scale_loss requires_grad_ retain_grad register_hook minimize zero_grad"
)
TRAINING_PATHS = names(
    "torch.autograd.grad torch.autograd.backward torch.func.grad torch.func.jacrev torch.func.vjp "
    "torch.autograd.functional.jacobian torch.autograd.functional.hessian torch.autograd.functional.vjp "
    "torch.autograd.gradcheck functorch.grad torch.autograd.functional.jvp torch.autograd.functional.hvp "
    "torch.utils.checkpoint.checkpoint"
)
BACKWARD_METHODS = names("backward manual_backward scale_loss minimize")
BACKWARD_PATHS = names("torch.autograd.grad torch.autograd.backward")
# Methods that collect a value from all processes and hand it back as it was.
ACROSS_PROCESSES = names("gather_for_metrics pad_across_processes")
# Entry points that train when called on anything (the body is the framework's).
TRAINING_CALLS = names("backward fit train_step training_step train_one_epoch train_epoch train_batch optimize")

# -- hooks -------------------------------------------------------------------------------------------------------------

# Methods of a module that call what they are given once per pass.
HOOKING = names(
    "register_forward_hook register_forward_pre_hook register_full_backward_hook register_backward_hook "
    "register_full_backward_pre_hook"
)

# -- containers ------------------------------------------------------------------------------------------------------

CONTAINER_PATHS = {
    "list": "list", "dict": "dict", "set": "set", "collections.deque": "deque", "collections.defaultdict": "dict",
    "collections.OrderedDict": "dict", "queue.Queue": "queue", "queue.SimpleQueue": "queue",
    "queue.LifoQueue": "queue", "collections.Counter": "counter",
}  # fmt: skip
GROWING = {
    "append": "append", "appendleft": "appendleft", "extend": "extend", "insert": "insert", "put": "put",
    "put_nowait": "put", "add": "add",
}  # fmt: skip
SHRINKING = names("pop popleft popitem clear remove discard get get_nowait task_done __delitem__ move_to_end")
# `get` empties a queue and only reads a dict.
QUEUE_SHRINKING = names("get get_nowait")

# Methods of containers, strings, files, random numbers and the like: no module has them, whatever they are called on.
PLAIN_METHODS = names(
    "items keys values get pop popleft append extend insert remove clear copy update setdefault add discard index "
    "count sort reverse split rsplit join strip lstrip rstrip replace lower upper format encode startswith endswith "
    "read readline readlines write close flush open acquire release wait start stop put get_nowait put_nowait "
    "parse_args add_argument most_common group match search sub findall exists mkdir glob iterdir resolve seed "
    "random choice sample shuffle uniform randint getLogger time sleep perf_counter reset render"
)

# -- other libraries -------------------------------------------------------------------------------------------------

ARRAY_PACKAGES = ("numpy.", "jax.numpy.", "cupy.")
LOGGERS = names("debug info warning error critical exception log print write add_scalar add_scalars set_postfix")

# Names so common that a call of one on an unknown object says nothing about which function is meant.
COMMON_NAMES = names(
    "get set update add append pop items run close open read write copy index forward train eval step fit log save "
    "load reset start stop call apply build init main test size to cpu cuda item sum mean max min view __init__ print"
)
