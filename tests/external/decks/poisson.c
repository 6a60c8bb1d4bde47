/* u'' = -1, u(0) = u(1) = 0 on 99 inner points: 1/8 in the middle */
#include <petscksp.h>

int main(int argc, char **argv)
{
  const PetscInt n = 99;
  const PetscScalar h = 1.0 / (n + 1), middle = 0;
  PetscInt first, last, at = n / 2;
  PetscScalar value = middle;
  Mat A;
  Vec u, b;
  KSP ksp;

  PetscCall(PetscInitialize(&argc, &argv, NULL, NULL));
  PetscCall(MatCreateAIJ(PETSC_COMM_WORLD, PETSC_DECIDE, PETSC_DECIDE, n, n, 3, NULL, 3, NULL, &A));
  PetscCall(MatGetOwnershipRange(A, &first, &last));
  for (PetscInt i = first; i < last; i++) {
    if (i > 0) PetscCall(MatSetValue(A, i, i - 1, -1.0, INSERT_VALUES));
    if (i < n - 1) PetscCall(MatSetValue(A, i, i + 1, -1.0, INSERT_VALUES));
    PetscCall(MatSetValue(A, i, i, 2.0, INSERT_VALUES));
  }
  PetscCall(MatAssemblyBegin(A, MAT_FINAL_ASSEMBLY));
  PetscCall(MatAssemblyEnd(A, MAT_FINAL_ASSEMBLY));
  PetscCall(MatCreateVecs(A, &u, &b));
  PetscCall(VecSet(b, h * h));
  PetscCall(KSPCreate(PETSC_COMM_WORLD, &ksp));
  PetscCall(KSPSetOperators(ksp, A, A));
  PetscCall(KSPSetFromOptions(ksp));
  PetscCall(KSPSolve(ksp, b, u));
  PetscCall(VecGetValues(u, 1, &at, &value));
  PetscCall(PetscPrintf(PETSC_COMM_WORLD, "middle %.6f\n", (double)value));
  PetscCall(PetscFinalize());
  return 0;
}
