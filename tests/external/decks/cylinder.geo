SetFactory("OpenCASCADE");
Cylinder(1) = {0, 0, 0, 0, 0, 1, 1};
Mesh.MeshSizeMax = 0.15;
Mesh.MshFileVersion = 2.2;
