# Solve u'' = -1, u(0) = u(1) = 0 on 99 inner points
n <- 99
h <- 1 / (n + 1)
A <- diag(2, n); A[cbind(1:(n - 1), 2:n)] <- -1; A[cbind(2:n, 1:(n - 1))] <- -1
u <- solve(A, rep(h^2, n))
cat(sprintf("middle %.6f\n", u[50]))
cat(sprintf("normal %.6f\n", integrate(dnorm, -1.96, 1.96)$value))
