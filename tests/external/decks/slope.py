import torch

x = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
torch.sin(x).backward()
print("slope", float(x.grad))
