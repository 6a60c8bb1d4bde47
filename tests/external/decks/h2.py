# What holds the atoms of hydrogen together: 4.9 eV in the local density approximation.
from ase import Atoms
from gpaw import GPAW

pair = Atoms("H2", [(0, 0, 0), (0, 0, 0.74)], cell=(5, 5, 5.5), pbc=False)
one = Atoms("H", cell=(5, 5, 5), magmoms=[1])
for atoms, log, hund in ((pair, "pair.txt", False), (one, "one.txt", True)):
    atoms.center()
    atoms.calc = GPAW(mode="fd", h=0.25, xc="LDA", hund=hund, txt=log)
print("bond", 2 * one.get_potential_energy() - pair.get_potential_energy())
