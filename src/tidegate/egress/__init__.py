"""The one way out: HTTP requests to wherever a model, a web page or a configuration says, past one guard.

A host is resolved once, every address it has is checked, and the connection goes to exactly the checked address,
while the certificate and the Host header are held to the name. A redirect is a new request, checked like the first. No
cookies, no proxy, no credentials from files or the environment. The library that speaks HTTP is imported by the first
request; and this file imports nothing, because the configuration reads rules (`address`) and has to be quick.
"""
