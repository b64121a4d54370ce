"""What tests of stored data sets share: parties of a prepared run, and what a folder holds."""

from helpers import make_rows, owners_of, scheme_of, split

from skfhe import KeyHolder
from skfhe.protocol.session import Costs, make_evaluator, prepare, train_dataset

PREPARED = {"standardize": True, "precondition": True, "max_iter": 2}


class Owners:
    """A key holder, an evaluator and all owners of a plan, with the moments released."""

    def __init__(self, plan, backend, shares=None):
        self.plan, self.backend = plan, backend
        self.holder = KeyHolder(plan, scheme_of(plan, backend))
        self.X, self.targets = make_rows(plan)
        self.parts = split(len(self.X), plan.guarantee.n_owners)
        self.evaluator = make_evaluator(self.holder, Costs())
        self.owners = owners_of(self.holder)
        made = []
        for owner, part in zip(self.owners, self.parts, strict=True):
            made.append(owner.statistic("moments", self.X[part]))
        prepare(self.evaluator, self.holder, "moments", lambda: made, Costs())
        for owner in self.owners:
            owner.adopt(self.holder.frame())

    def again(self):
        """The same owners in new processes."""
        owners = owners_of(self.holder)
        for owner in owners:
            owner.adopt(self.holder.frame())
        return owners

    def rows(self, index):
        return self.X[self.parts[index]], self.targets[self.parts[index]]

    def save(self, folders):
        for index, (owner, folder) in enumerate(zip(self.owners, folders, strict=True)):
            owner.save(folder, *self.rows(index))

    def train(self, dataset):
        outcome = train_dataset(self.evaluator, dataset, self.holder, Costs())
        return outcome.released.model


def everything(folder):
    """Names and bytes of a local folder's files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
