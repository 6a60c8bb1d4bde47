import bmesh
import bpy

bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=5, radius=1.0)
mesh = bmesh.new()
mesh.from_mesh(bpy.context.object.data)
print("volume", mesh.calc_volume())
