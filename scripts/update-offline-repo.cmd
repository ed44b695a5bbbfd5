@echo off
rem Make the offline channel ROOT\LABEL anew from a list of packages:
rem
rem     update-offline-repo LABEL TOKEN ROOT PACKAGE...
rem
rem A PACKAGE with blanks or signs goes in quotes: "pytho >=4.1". update_offline_repo.py beside this
rem file does it, with PYTHON, python or py (3.8 or newer), and says the rest.
setlocal EnableExtensions DisableDelayedExpansion

if defined PYTHON goto run
for %%N in (python.exe) do set "PYTHON=%%~$PATH:N"
if defined PYTHON goto run
for %%N in (py.exe) do set "PYTHON=%%~$PATH:N"
if defined PYTHON goto run
echo error: no Python here: put one of 3.8 or newer on PATH, or set PYTHON to it 1>&2
exit /b 2
:run
"%PYTHON%" "%~dp0update_offline_repo.py" %*
exit /b %errorlevel%
