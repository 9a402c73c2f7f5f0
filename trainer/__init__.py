"""How does a specification become trained weights? A map of the rooms, as a run meets them:

spec        What does a specification say, and which mistakes are in it?
study       What is a network like before training, and are its derivatives right?
client      How does a program talk to the service?
cli         What can the command line do?
service     Who takes, queues and looks after runs?
runner      How does one attempt at a run go?
server      What does the parameter server do with the workers' answers?
arithmetic  How do weights follow a gradient?
weights     Where do weights come from, how do they lie in a file, and where do they go?
snapshots   How is a run saved so that it resumes exactly, and how is damage recognised?
record      What is known of a run?
v1          Messages and services, generated from proto/trainer/v1.

Beside the rooms:

errors        mistakes that the caller can mend
addresses     host:port
host          this machine
durable_file  a file that is whole or absent
token_format  the text of an access token
extras        what a base installation leaves out, and the line that installs it

A picture of one step, and of who may import whom: docs/how-it-works.md#one-step.
"""
