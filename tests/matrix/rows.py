"""The scripts of the resume matrix: what is in each, how it is started, and what it must resume as."""

from pathlib import Path

import msgspec

SCRIPTS = Path(__file__).parent / "scripts"
STATE = (r"checkpoint-\d+/", r"orbax_run/")
"""What a framework keeps for its own resume; rotation by time of writing may leave other ones."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One script."""

    name: str
    holds: str
    """What is in it, for the table."""
    tiers: str = "B"
    """Every tier that it may resume as; another one fails the row."""
    every: str = "40steps"
    """For `--snapshot-every`."""
    ranks: int = 1
    ignored: tuple[str, ...] = ()
    """Patterns of files that are not compared."""
    seeded: bool = True
    """Whether two runs of it are equal; when not, the dead runs' own lines are what must come again."""
    clock: bool = False
    """Whether its numbers follow the clock: what was written before a snapshot must come again, no more."""
    quick: bool = False
    """Whether it is among those that every merge runs."""

    @property
    def script(self) -> Path:
        """The file itself."""
        return SCRIPTS / f"{self.name}.py"


ROWS = (
    Row(
        name="cnn_augment",
        holds="image CNN: augmentation, batch norm, plateau schedule, early stop, best.pt",
        quick=True,
    ),
    Row(
        name="nanogpt_memmap",
        holds="nanoGPT-like: memmap batches, tied weights, manual LR, estimate_loss",
        quick=True,
    ),
    Row(name="gan_ema", holds="GAN: EMA in a dict, history pool, labels smoothed", quick=True),
    Row(
        name="wgan_gp",
        holds="WGAN-GP: five critic steps a generator step, spectral norm",
        quick=True,
    ),
    Row(
        name="lstm_carried", holds="LSTM: carried hidden state, in-place gradient clamp", quick=True
    ),
    Row(
        name="dqn_replay",
        holds="DQN: replay memory of numpy, target net, epsilon-greedy",
        quick=True,
    ),
    Row(
        name="reinforce", holds="REINFORCE: sampled actions decide an episode's length", quick=True
    ),
    Row(name="actor_critic", holds="soft actor-critic: three optimizers, four nets, numpy buffer"),
    Row(
        name="ppo", holds="PPO: eight environments, GAE, minibatches by index, KL stop", quick=True
    ),
    Row(name="vae", holds="VAE: KL warm-up, samples saved each epoch"),
    Row(name="two_tower", holds="contrastive two-tower: learned temperature, safetensors"),
    Row(name="diffusion_toy", holds="DDPM: deep-copied EMA, sampling loops, tqdm", quick=True),
    Row(
        name="gnn_dense",
        holds="GCN: dense adjacency, edge dropout, full batch, best state in memory",
    ),
    Row(
        name="lbfgs_fit",
        holds="LBFGS: strong Wolfe, closures, float64",
        every="12steps",
        quick=True,
    ),
    Row(name="pinn", holds="physics-informed: second derivatives, Adam, then LBFGS"),
    Row(name="swa_snapshots", holds="SWA: AveragedModel, SWALR, update_bn"),
    Row(name="distillation", holds="teacher, then student by distillation: two loops, frozen net"),
    Row(
        name="accum_amp",
        holds="gradient accumulation, bf16 autocast, GradScaler, two loader workers",
        every="15steps",
        quick=True,
    ),
    Row(name="curriculum_batch", holds="curriculum: growing batch, new loaders, no fixed epochs"),
    Row(name="mining_sampler", holds="custom sampler whose weights follow the losses", quick=True),
    Row(name="iterable_workers", holds="IterableDataset, two workers, shuffle buffer", quick=True),
    Row(name="value_shapes", holds="shapes from values: nonzero, masks, unique, top-k", quick=True),
    Row(name="moe_router", holds="mixture of experts: top-2 routing, where, index_add"),
    Row(name="seq2seq_forcing", holds="GRU seq2seq with attention, random teacher forcing"),
    Row(
        name="sparse_word2vec",
        holds="skip-gram: sparse gradients, SparseAdam and Adam, multinomial",
    ),
    Row(name="maml", holds="MAML: functional_call, gradients of gradients"),
    Row(
        name="handwritten_sgd",
        holds="raw tensors, Nesterov by hand: no nn.Module, no torch.optim",
        quick=True,
    ),
    Row(
        name="functional_vmap",
        holds="torch.func: grad, vmap over an ensemble, Adam by hand",
    ),
    Row(
        name="image_inversion", holds="optimises an image: gram matrices, jitter, gradient scaling"
    ),
    Row(name="closures", holds="everything in closures, nonlocal counters, partials", quick=True),
    Row(
        name="generator_loop",
        holds="the loop is a generator that is sent commands; lazy pipeline",
        quick=True,
    ),
    Row(
        name="module_level",
        holds="no functions, prints, torch.save of the whole module",
        quick=True,
    ),
    Row(name="np_random", holds="np.random for data, mixup, masks and learning rate"),
    Row(
        name="user_classes",
        holds="UserDict samples, dataclass batches, namedtuples, backward hook",
        quick=True,
    ),
    Row(name="kfold", holds="cross-validation: optimizer anew for each fold, deep copies"),
    Row(name="compiled", holds="torch.compile (aot_eager), OneCycleLR", quick=True),
    Row(
        name="checkpoint_dict",
        holds="checkpoint dict every epoch, --resume that nobody passes",
        quick=True,
    ),
    Row(name="self_resume", holds="saves and reads its own checkpoint, RNG included", tiers="BC"),
    Row(name="cached_features", holds="builds a cache on its first start; deletes old saves"),
    Row(name="unseeded", holds="no seed anywhere", seeded=False, quick=True),
    Row(name="time_lr", holds="learning rate and end by the clock", seeded=False, clock=True),
    Row(name="spawn_children", holds="training in children of mp.spawn, shared memory", tiers="DE"),
    Row(
        name="ddp_gloo",
        holds="DDP by torchrun, two gloo ranks, DistributedSampler",
        ranks=2,
        quick=True,
    ),
    Row(
        name="hf_plain",
        holds="HF Trainer: eval and saves by steps",
        tiers="A",
        ignored=STATE,
        quick=True,
    ),
    Row(
        name="hf_best_accum",
        holds="HF Trainer: accumulation, save_total_limit, best model at the end",
        tiers="A",
        ignored=STATE,
        quick=True,
    ),
    Row(name="hf_streaming", holds="HF Trainer: streaming dataset", tiers="A", ignored=STATE),
    Row(name="hf_lora", holds="HF Trainer + PEFT LoRA, never saves", tiers="AB"),
    Row(
        name="trl_sft",
        holds="TRL SFTTrainer + LoRA",
        tiers="A",
        ignored=(*STATE, r"README\.md"),
        quick=True,
    ),
    Row(
        name="lightning_module",
        holds="Lightning: ModelCheckpoint, CSVLogger, scheduler",
        quick=True,
    ),
    Row(
        name="accelerate_loop",
        holds="accelerate: accumulation, clip, prepared schedule",
        quick=True,
    ),
    Row(name="keras_fit", holds="Keras on torch: fit, CSVLogger, ModelCheckpoint"),
    Row(name="jax_optax", holds="JAX + optax, saves at the end", tiers="E"),
    Row(
        name="jax_orbax",
        holds="JAX + Orbax, goes on from its latest step",
        tiers="AC",
        ignored=STATE,
        quick=True,
    ),
)


def row_of(name: str) -> Row:
    """Find a row by its script's name."""
    return next(row for row in ROWS if row.name == name)
