// Package vnctest is a viewer of VNC screens and a maker of their certificates, for tests.
package vnctest
