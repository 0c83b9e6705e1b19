"""The data, network and devices of a configuration, checked before anything is written or trained."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from jsep.costs import CostTable, count
from jsep.data import IMAGENET_MEAN, IMAGENET_STD, Dataset, Feed, load_choice, make_feed
from jsep.data.feed import steps_per_epoch
from jsep.errors import UserError
from jsep.layers.dice import follows_image_size
from jsep.models import create_model, model_info
from jsep.models.factored import factored
from jsep.train.classify import CLASSIFICATION
from jsep.train.detect import DETECTION
from jsep.train.parallel import AXIS, Devices
from jsep.train.recipe import Data, Recipe, RunConfig
from jsep.train.segment import SEGMENTATION
from jsep.train.select import named_backbone, still_frozen
from jsep.train.step import frozen_norms
from jsep.train.task import Statistics, Task, check_recipe
from jsep.trees import differences

TASKS: dict[str, Task] = {task.name: task for task in (CLASSIFICATION, DETECTION, SEGMENTATION)}


@dataclasses.dataclass(frozen=True)
class Setup:
    """The objects that training and evaluation have in common.

    Attributes:
        config: the configuration that they were made from, with the mean and deviation that images are normalised by,
            and the share of the shorter side that evaluated images keep.
        dataset: the data set.
        model: the network, whose batch norms share statistics over the devices.
        devices: the devices that share every batch.
        training: the training images, in batches.
        testing: the test images, in batches.
        costs: parameters, MACs and FLOPs of the network, layer by layer.
    """

    config: RunConfig
    dataset: Dataset
    model: nn.Module
    devices: Devices
    training: Feed
    testing: Feed
    costs: CostTable

    @property
    def recipe(self) -> Recipe:
        """The recipe of the training step.

        It does not crop images again that were cropped as they were decoded, and its wildcards of what is frozen are
        for the network's own names.
        """
        recipe = self.config.recipe
        freeze = named_backbone(recipe.optimizer.freeze, self.task.backbone)
        recipe = dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, freeze=freeze))
        if not self.training.crops:
            return recipe
        return dataclasses.replace(recipe, augment=dataclasses.replace(recipe.augment, resized_crop=False))

    @property
    def task(self) -> Task:
        """What the network does with images."""
        return task_of(self.config)

    @property
    def statistics(self) -> Statistics:
        """The mean and standard deviation that images are normalised with."""
        return statistics_of(self.config.recipe.data, self.dataset)

    @property
    def steps_per_epoch(self) -> int:
        """Number of whole batches in one pass over the training images."""
        return steps_per_epoch(self.training.size, self.config.recipe.batch_size)


def task_of(config: RunConfig) -> Task:
    """Return what the network of a configuration does with images."""
    return TASKS[model_info(config.model).task]


def dataset_of(config: RunConfig) -> Dataset:
    """Load the data set of a configuration. Raises `UserError` as `jsep.data.load_choice` does."""
    return load_choice(config.recipe.data, task_of(config).name)


def prepare(config: RunConfig, dataset: Dataset | None = None) -> Setup:
    """Make the data, network and devices of a configuration, and check all that evaluation needs.

    Args:
        config: the configuration.
        dataset: its data set if it is loaded already; None loads it.

    Returns:
        The setup of training and evaluation.

    Raises:
        UserError: there is no such network, option, data set or device, or they do not fit together.
    """
    recipe, choice, task = config.recipe, config.recipe.data, task_of(config)
    devices = Devices(recipe.devices)
    check_recipe(task, recipe, config.model)
    # before the data is loaded: a mistyped name should not wait for it
    network = create_model(config.model, dtype=jnp.dtype(recipe.dtype), axis_name=AXIS, **config.options)
    if dataset is None:
        dataset = dataset_of(config)
    if choice.normalize == "imagenet" and dataset.image_shape[-1] != len(IMAGENET_MEAN):
        raise UserError(f"`normalize`=imagenet needs colour images; those of {dataset.name} have one channel")
    model = factored(network.clone(num_classes=task.background + len(dataset.class_names)), config.factored)
    mean, std = statistics_of(choice, dataset)
    known = dataclasses.replace(choice, mean=mean, std=std, crop_share=dataset.crop_share)
    if dataset.eval_shape != dataset.image_shape:
        _check_evaluation(model, dataset, config.model)
    return Setup(
        config=dataclasses.replace(config, recipe=dataclasses.replace(recipe, data=known)),
        dataset=dataset,
        model=model,
        devices=devices,
        training=make_feed(dataset.train, dataset, choice.workers, recipe.augment),
        testing=make_feed(dataset.test, dataset, choice.workers),
        costs=count(model, dataset.image_shape),  # raises UserError if the network cannot take these images
    )


def _check_evaluation(model: nn.Module, dataset: Dataset, name: str) -> None:
    """Check that a network that is trained on images of one size can be evaluated on those of another."""
    count(model, dataset.eval_shape)  # raises UserError if the network cannot take these images
    images = (jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in (dataset.image_shape, dataset.eval_shape))
    trained, tested = (jax.eval_shape(model.init, jax.random.key(0), image) for image in images)
    if wrong := differences(trained, tested, follows_image_size):
        raise UserError(
            f"`eval_size`={dataset.eval_size}: the shape of {wrong[0]} of {name} depends on the size of its images, "
            f"which are trained at {dataset.image_shape[0]} pixels: leave it out"
        )


def check_training(setup: Setup) -> None:
    """Check that the devices can share a batch, that the network can train on it, and that there are images for one.

    Raises:
        UserError: the batch does not fit the devices, the network or the data.
    """
    recipe = setup.recipe
    setup.devices.check_batch(recipe.batch_size, recipe.optimizer.accumulate, recipe.objective.mixes)
    steps_per_epoch(setup.training.size, recipe.batch_size)
    if recipe.batch_size == recipe.optimizer.accumulate:  # batch norms see a single image, which may be too little
        model, image = setup.model, jax.ShapeDtypeStruct((1, 1, *setup.dataset.image_shape), jnp.float32)

        def train(image: Array) -> Any:
            variables = model.init(jax.random.key(0), image)
            rngs = {"dropout": jax.random.key(0)}
            with frozen_norms(still_frozen(recipe.optimizer.freeze, recipe.schedule.epochs - 1)):
                return model.apply(variables, image, train=True, mutable=["batch_stats"], rngs=rngs)

        jax.eval_shape(jax.vmap(train, axis_name=AXIS), image)


def statistics_of(choice: Data, dataset: Dataset) -> Statistics:
    """Return what images are normalised with.

    Args:
        choice: the choice of the data set, with its `normalize`.
        dataset: the data set.

    Returns:
        The mean and the standard deviation of each channel, for values from 0 to 1.

    Raises:
        UserError: the mean of the choice has more or fewer values than images have channels.
    """
    channels = dataset.image_shape[-1]
    if choice.mean:
        if len(choice.mean) != channels:
            raise UserError(
                f"`mean`={choice.mean}: the images of {dataset.name} have {channels} channels; give as many values, "
                f"or a data set of images with {len(choice.mean)}"
            )
        return choice.mean, choice.std
    if choice.normalize == "dataset":
        return dataset.mean, dataset.std
    if choice.normalize == "imagenet":
        return IMAGENET_MEAN, IMAGENET_STD
    return (0.0,) * channels, (1.0,) * channels
