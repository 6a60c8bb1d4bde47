from sklearn.linear_model import LinearRegression

fit = LinearRegression().fit([[0, 0], [1, 0], [0, 1], [1, 1]], [1, 3, 4, 6])
print("plane", *fit.coef_, fit.intercept_)
