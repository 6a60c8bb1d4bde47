from paraview.simple import IntegrateVariables, Sphere, servermanager

sphere = Sphere(Radius=1.0, ThetaResolution=200, PhiResolution=200)
summed = IntegrateVariables(Input=sphere)
summed.UpdatePipeline()
print("area", servermanager.Fetch(summed).GetCellData().GetArray("Area").GetValue(0))
