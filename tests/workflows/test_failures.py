"""Errors of data loader processes become the same paragraph as errors of this process."""

from __future__ import annotations

import pytest
from torch.utils.data import DataLoader, Dataset

from tl_toolkit.errors import UserError
from tl_toolkit.workflows.failures import explained


class Unreadable(Dataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, row: int) -> int:
        raise UserError(f'The image {row} cannot be read: "UserError: no".')


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_loader_process_is_one_paragraph(workers: int) -> None:
    with pytest.raises(UserError) as caught:
        next(iter(DataLoader(Unreadable(), num_workers=workers)))
    assert str(explained(caught.value)) == 'The image 0 cannot be read: "UserError: no".'
