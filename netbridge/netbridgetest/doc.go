// Package netbridgetest holds a model of the kernel's bridges and the contract that the model and the kernel both keep.
package netbridgetest
