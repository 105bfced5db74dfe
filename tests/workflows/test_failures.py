"""What stopped a run is said as plainly from another process as from this one."""

from __future__ import annotations

import pytest
from torch.utils.data import DataLoader, Dataset

from tl_toolkit.errors import UserError
from tl_toolkit.workflows.failures import explained


class Unreadable(Dataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, row: int) -> int:
        raise UserError(f'The picture {row} cannot be read: say "UserError: no".')


@pytest.mark.parametrize("workers", [0, 1])
def test_a_mistake_that_a_reading_process_meets_is_one_paragraph(workers: int) -> None:
    with pytest.raises(UserError) as caught:
        next(iter(DataLoader(Unreadable(), num_workers=workers)))
    assert str(explained(caught.value)) == 'The picture 0 cannot be read: say "UserError: no".'
