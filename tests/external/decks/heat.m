% u'' = -1, u(0) = u(1) = 0 on 99 inner points: 1/8 in the middle
n = 99; h = 1 / (n + 1);
A = spdiags(ones(n, 1) * [-1 2 -1], -1:1, n, n);
u = A \ (h^2 * ones(n, 1));
printf("middle %.6f\n", u(50));
