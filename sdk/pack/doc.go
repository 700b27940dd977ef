// Package pack is the format of an update package: what an author builds from
// a recipe, and what a device, a file server and an operator read.
//
// A package is an OCI artifact (image spec 1.1). Its manifest lists a config
// blob, which is the component [Manifest], and layers: one [Artifact] per
// platform, and the state [Transform] modules. Blobs are named by their
// SHA-256 digest, so they can be fetched one by one and resumed. On disk a
// package is an OCI image layout, as a directory or as one deterministic tar
// of it whose name is a [FileName]. SPEC.md is the normative text.
//
//	author:  ReadRecipe → Recipe.Build (directory) or Recipe.BuildFile (tar)
//	reader:  Open → Layout.Package, Layout.Blob, Layout.Verify
//	device:  ConfigOf, Parse → Package.Artifact, Chain, Unpack
//
// Trust: [Package].Digest, the digest of the manifest bytes, covers everything
// in the package. It is the one value that a signature has to vouch for, and
// the place to check one is before [Parse] is called on fetched bytes. This
// package checks digests only: they prove that a package is whole, not who
// made it.
package pack
